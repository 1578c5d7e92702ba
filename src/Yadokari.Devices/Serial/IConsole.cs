namespace Yadokari.Devices.Serial;

/// <summary>Where a character device's output goes. Any thread may call, with no lock of the device held.</summary>
public interface IConsole
{
    /// <summary>There is room again after there was none. Any thread, no lock held; handlers wait for nothing.</summary>
    event Action? Ready
    {
        add { }
        remove { }
    }

    /// <summary>
    /// Whether devices that can make the guest wait shall go on. A console without it may still take some bytes, and makes good by <see cref="Ready"/>.
    /// One that always has room may wait in <see cref="Write"/> instead. Any thread, also under a device's lock: takes none.
    /// </summary>
    bool HasRoom => true;

    /// <summary>
    /// Takes bytes the guest put out. The span is valid only during the call. It may wait until there is room, and holds the vCPU that writes
    /// up by that, but nothing else of the machine. An exception ends the machine.
    /// </summary>
    void Write(ReadOnlySpan<byte> bytes);
}
