using System.Buffers.Binary;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Linux;
using Yadokari.Networks.User;

namespace Yadokari.Networks;

/// <summary>
/// Frames over a stream socket, each preceded by its length, as QEMU's <c>-netdev stream</c> sends them. A thread of its own receives; one other
/// thread sends.
/// </summary>
internal sealed class FrameStream : IDisposable
{
    private const int LengthSize = 4;
    private const int MaxBacklog = 1 << 20;

    private readonly Lock _lock = new(); // Guards the backlog. Only system calls that do not block are made under it.
    private readonly ByteRing _backlog = new(MaxBacklog, new ByteBudget(MaxBacklog));
    private readonly byte[] _frame = new byte[LengthSize + INetwork.MaxFrameSize];
    private readonly byte[] _incoming = new byte[LengthSize + INetwork.MaxFrameSize];
    private readonly Epoll _epoll = new();
    private readonly HostSocket _socket;
    private readonly Thread _thread;
    private int _came; // Bytes in _incoming that are not delivered.
    private volatile bool _ends;

    /// <summary>Takes over a connected socket and starts the receiving thread.</summary>
    /// <param name="socket">The socket; this object owns it.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="Core.UserErrorException">epoll does not take the socket.</exception>
    public FrameStream(HostSocket socket, Action<Exception>? failed = null)
    {
        _socket = socket;
        try
        {
            _epoll.Add(socket.Descriptor, 0, Readiness.Read | Readiness.Write);
        }
        catch
        {
            _epoll.Dispose();
            socket.Dispose();
            throw;
        }

        _thread = HostThread.Start("network", Serve, failed);
    }

    /// <summary>Frames received. Frames that do not fit are dropped.</summary>
    public FrameQueue Queue { get; } = new();

    /// <summary>Called by the receiving thread when it has queued frames; must not block.</summary>
    public Action? Arrived { get; set; }

    /// <summary>Sends a frame. While the peer does not read, frames go to a bounded backlog; when that is full they are dropped. One thread at a time.</summary>
    public void Send(ReadOnlySpan<byte> frame)
    {
        BinaryPrimitives.WriteInt32BigEndian(_frame, frame.Length);
        frame.CopyTo(_frame.AsSpan(LengthSize));
        ReadOnlySpan<byte> rest = _frame.AsSpan(0, LengthSize + frame.Length);
        lock (_lock)
        {
            if (rest.Length > _backlog.Free)
            {
                return;
            }

            if (_backlog.Count == 0)
            {
                int sent = _socket.Send(rest);
                if (sent < 0 && sent != HostSocket.Again)
                {
                    return;
                }

                rest = rest[Math.Max(sent, 0)..];
            }

            _backlog.Put(rest);
        }
    }

    /// <summary>Closes the socket; the peer sees the end of the stream. While no thread sends.</summary>
    public void Dispose()
    {
        _ends = true;
        _epoll.Wake();
        _thread.Join();
        _socket.Dispose();
        _epoll.Dispose();
        _backlog.Dispose();
    }

    private void Serve()
    {
        Span<ReadyEvent> events = stackalloc ReadyEvent[1];
        while (!_ends && Receive())
        {
            FlushBacklog();
            _epoll.Wait(events, -1);
        }
    }

    private void FlushBacklog()
    {
        lock (_lock)
        {
            while (_backlog.Count > 0 && _socket.Send(_backlog.ReadableSpan()) is var sent && sent > 0)
            {
                _backlog.Take(sent);
            }
        }
    }

    // False at the end of the stream.
    private bool Receive()
    {
        while (!_ends)
        {
            int count = _socket.Receive(_incoming.AsSpan(_came));
            if (count <= 0)
            {
                return count == HostSocket.Again;
            }

            _came += count;
            if (!Deliver())
            {
                return false;
            }
        }

        return false;
    }

    // Queues the complete frames; a partial one stays for the next read. False if a length is invalid.
    private bool Deliver()
    {
        bool any = false;
        ReadOnlySpan<byte> rest = _incoming.AsSpan(0, _came);
        while (rest.Length >= LengthSize)
        {
            int length = BinaryPrimitives.ReadInt32BigEndian(rest);
            if (length is < 0 or > INetwork.MaxFrameSize)
            {
                return false;
            }

            if (rest.Length < LengthSize + length)
            {
                break;
            }

            if (length > 0 && Queue.TryReserve(length, out Span<byte> frame))
            {
                rest.Slice(LengthSize, length).CopyTo(frame);
                Queue.Put(length, default);
                any = true;
            }

            rest = rest[(LengthSize + length)..];
        }

        rest.CopyTo(_incoming);
        _came = rest.Length;
        if (any)
        {
            Arrived?.Invoke();
        }

        return true;
    }
}
