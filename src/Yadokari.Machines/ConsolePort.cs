using Yadokari.Core.Networks;
using Yadokari.Devices.Serial;

namespace Yadokari.Machines;

/// <summary>The host's end of a virtio console: what is typed, and where output goes. Somebody is always there.</summary>
/// <param name="output">Gets the output, on a thread of the device's.</param>
internal sealed class ConsolePort(IConsole output) : IPortHost
{
    private readonly Lock _lock = new(); // Innermost.
    private readonly Queue<byte> _typed = [];

    /// <inheritdoc/>
    public Action? Ready { get; set; }

    /// <inheritdoc/>
    public bool IsConnected => true;

    /// <summary>Types. Any thread; takes all, and waits for nothing.</summary>
    public void Receive(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            foreach (byte b in bytes)
            {
                _typed.Enqueue(b);
            }
        }

        Ready?.Invoke();
    }

    /// <summary>Forgets what the guest did not take yet.</summary>
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
            int count = 0;
            while (count < data.Length && _typed.TryDequeue(out byte b))
            {
                data[count++] = b;
            }

            return count;
        }
    }

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> data)
    {
        output.Write(data);
        return data.Length;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
