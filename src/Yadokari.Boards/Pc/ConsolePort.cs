using Yadokari.Core.Devices;
using Yadokari.Core.Networks;
using Yadokari.Devices.Serial;

namespace Yadokari.Boards.Pc;

/// <summary>The host's end of a virtio console: an input buffer, and the output. Always connected.</summary>
/// <param name="output">Gets the output, on a thread of the device.</param>
internal sealed class ConsolePort(IConsole output) : IPortHost, IPassiveDevice
{
    private readonly Lock _lock = new(); // Innermost.
    private readonly InputBuffer _typed = new();

    /// <inheritdoc/>
    public string Name => "virtio-console-input";

    /// <inheritdoc/>
    public Action? Ready { get; set; }

    /// <inheritdoc/>
    public bool IsConnected => true;

    /// <summary>Queues input. Any thread; does not block. Returns how many bytes the buffer had room for.</summary>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        int taken;
        lock (_lock)
        {
            taken = _typed.Add(bytes);
        }

        Ready?.Invoke();
        return taken;
    }

    /// <summary>Discards input that the guest has not read.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _typed.Clear();
        }
    }

    /// <inheritdoc/>
    public int Read(Span<byte> data)
    {
        lock (_lock)
        {
            ReadOnlySpan<byte> next = _typed.Next;
            next = next[..Math.Min(next.Length, data.Length)];
            next.CopyTo(data);
            _typed.Take(next.Length);
            return next.Length;
        }
    }

    /// <summary>The console has room again. Any thread, no lock held.</summary>
    public void ResumeOutput() => Ready?.Invoke();

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> data)
    {
        if (!output.HasRoom)
        {
            return 0;
        }

        output.Write(data);
        return data.Length;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
