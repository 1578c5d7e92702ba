namespace Yadokari.Devices.Serial;

/// <summary>Where a character device's output goes. Any thread may call, with no lock of the device held.</summary>
public interface IConsole
{
    /// <summary>Raised when the console has room again. Any thread, no lock held; handlers must not block.</summary>
    event Action? Ready
    {
        add { }
        remove { }
    }

    /// <summary>
    /// Whether devices with flow control may send. A console without room may still accept some bytes, and raises <see cref="Ready"/> later.
    /// One that always has room may block in <see cref="Write"/> instead. Any thread, also under a device's lock: takes none.
    /// </summary>
    bool HasRoom => true;

    /// <summary>
    /// Writes output of the guest. The span is valid only during the call. It may block until there is room, which stalls the vCPU that writes
    /// but nothing else of the machine. An exception ends the machine.
    /// </summary>
    void Write(ReadOnlySpan<byte> bytes);
}
