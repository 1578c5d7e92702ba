using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Devices.Serial;

namespace Yadokari.Devices.Power;

/// <summary>Port 0xE9: bytes written there are shown, the port itself reads as 0xE9, which is how a guest finds it.</summary>
/// <param name="console">Where the bytes go. On a vCPU's thread, no lock held.</param>
public sealed class DebugConsole(IConsole console) : IBusDevice, IPassiveDevice
{
    /// <inheritdoc/>
    public string Name => "debug-console";

    /// <inheritdoc/>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        if (offset == 0 && !data.IsEmpty)
        {
            data[0] = 0xE9;
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset == 0 && !data.IsEmpty)
        {
            console.Write(data[..1]);
        }
    }
}
