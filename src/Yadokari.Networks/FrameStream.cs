using System.Buffers.Binary;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Linux;
using Yadokari.Networks.User;

namespace Yadokari.Networks;

/// <summary>
/// Frames over a stream socket, each behind its length, as QEMU's <c>-netdev stream</c> has them. A thread waits for the socket; sending is for
/// one other.
/// </summary>
internal sealed class FrameStream : IDisposable
{
    private const int LengthSize = 4;
    private const int MostWaiting = 1 << 20;

    private readonly Lock _lock = new(); // Guards what waits to be sent. Nothing is called under it but the kernel, which does not wait.
    private readonly ByteRing _waiting = new(MostWaiting, new ByteBudget(MostWaiting));
    private readonly byte[] _frame = new byte[LengthSize + INetwork.MostBytes];
    private readonly byte[] _incoming = new byte[LengthSize + INetwork.MostBytes];
    private readonly Epoll _epoll = new();
    private readonly HostSocket _socket;
    private readonly Thread _thread;
    private int _came; // Bytes in the above that are not delivered.
    private volatile bool _ends;

    /// <summary>Begins to listen to a socket that is connected, and takes it over.</summary>
    /// <param name="socket">Whose own it is from now on.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="Core.UserErrorException">The host can't wait for it.</exception>
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

    /// <summary>Frames that came. What the guest does not take in time is lost, as on a wire.</summary>
    public FrameQueue Queue { get; } = new();

    /// <summary>Called when the queue has something again, by the thread that waits; must return at once.</summary>
    public Action? Arrived { get; set; }

    /// <summary>Sends a frame. While the other side does not read, frames wait up to a limit, and more are lost. One thread at a time.</summary>
    public void Send(ReadOnlySpan<byte> frame)
    {
        BinaryPrimitives.WriteInt32BigEndian(_frame, frame.Length);
        frame.CopyTo(_frame.AsSpan(LengthSize));
        ReadOnlySpan<byte> rest = _frame.AsSpan(0, LengthSize + frame.Length);
        lock (_lock)
        {
            if (rest.Length > _waiting.Free)
            {
                return;
            }

            if (_waiting.Count == 0)
            {
                int sent = _socket.Send(rest);
                if (sent < 0 && sent != HostSocket.Again)
                {
                    return;
                }

                rest = rest[Math.Max(sent, 0)..];
            }

            _waiting.Put(rest);
        }
    }

    /// <summary>Closes the socket; the other side sees the stream's end. While nobody sends.</summary>
    public void Dispose()
    {
        _ends = true;
        _epoll.Wake();
        _thread.Join();
        _socket.Dispose();
        _epoll.Dispose();
        _waiting.Dispose();
    }

    private void Serve()
    {
        Span<ReadyEvent> events = stackalloc ReadyEvent[1];
        while (!_ends && Receive())
        {
            SendWaiting();
            _epoll.Wait(events, -1);
        }
    }

    private void SendWaiting()
    {
        lock (_lock)
        {
            while (_waiting.Count > 0 && _socket.Send(_waiting.First()) is var sent && sent > 0)
            {
                _waiting.Take(sent);
            }
        }
    }

    // False once nothing more comes.
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

    // Whole frames; what is cut is kept for the next time. False if it is no frames that come.
    private bool Deliver()
    {
        bool any = false;
        ReadOnlySpan<byte> rest = _incoming.AsSpan(0, _came);
        while (rest.Length >= LengthSize)
        {
            int length = BinaryPrimitives.ReadInt32BigEndian(rest);
            if (length is < 0 or > INetwork.MostBytes)
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
