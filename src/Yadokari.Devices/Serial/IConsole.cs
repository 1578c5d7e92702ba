namespace Yadokari.Devices.Serial;

/// <summary>Where a character device's output goes. Called on a vCPU's thread, with no lock of the device held.</summary>
public interface IConsole
{
    /// <summary>
    /// Takes bytes the guest put out. The span is valid only during the call. It may wait until there is room, and holds the vCPU that writes
    /// up by that, but nothing else of the machine. An exception ends the machine.
    /// </summary>
    void Write(ReadOnlySpan<byte> bytes);
}
