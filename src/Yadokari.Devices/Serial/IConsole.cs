namespace Yadokari.Devices.Serial;

/// <summary>Where a character device's output goes. Called on a vCPU's thread, with no lock of the device held.</summary>
public interface IConsole
{
    /// <summary>Takes bytes the guest put out. The span is valid only during the call; must not throw.</summary>
    void Write(ReadOnlySpan<byte> bytes);
}
