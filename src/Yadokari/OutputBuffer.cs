using Yadokari.Devices.Serial;

namespace Yadokari;

/// <summary>
/// Buffers the guest's console output until it is read. From <see cref="Full"/> bytes on, a device with flow control makes the guest wait. For a device
/// without, some more bytes fit; then <see cref="Write"/> blocks the vCPU.
/// </summary>
/// <param name="discards">Whether output is dropped rather than kept.</param>
internal sealed class OutputBuffer(bool discards = false) : IConsole
{
    /// <summary>Bytes to buffer without a pending read.</summary>
    public const int Full = 1 << 20;

    private const int Spare = 64 << 10;
    private const int Initial = 4096;

    private readonly object _lock = new(); // Guards the following fields. Conditions of reads are called inside it, handlers of Ready outside.
    private byte[] _bytes = new byte[Initial];
    private int _start;
    private int _count;
    private int _limit = Full;
    private bool _ended;
    private PendingRead? _read;

    /// <inheritdoc/>
    public event Action? Ready;

    /// <inheritdoc/>
    public bool HasRoom => Volatile.Read(ref _count) < Volatile.Read(ref _limit) || Volatile.Read(ref _ended);

    /// <summary>Whether the machine has ended: no output is added any more. Any thread.</summary>
    public bool HasEnded => Volatile.Read(ref _ended);

    /// <summary>The buffered output. Only for the condition of a read.</summary>
    public ReadOnlySpan<byte> Unread => _bytes.AsSpan(_start, _count);

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (discards)
        {
            return;
        }

        while (!bytes.IsEmpty)
        {
            bool gainedRoom;
            lock (_lock)
            {
                while (_count >= _limit + Spare && !_ended)
                {
                    Monitor.Wait(_lock);
                }

                if (_ended)
                {
                    return;
                }

                ReadOnlySpan<byte> piece = bytes[..Math.Min(bytes.Length, _limit + Spare - _count)];
                Append(piece);
                bytes = bytes[piece.Length..];
                bool hasRoom = HasRoom;
                Look();
                gainedRoom = !hasRoom && HasRoom; // A device may have found the buffer full in between.
            }

            if (gainedRoom)
            {
                Ready?.Invoke();
            }
        }
    }

    /// <summary>Drops all further output, and wakes blocked writers and the reader. Any thread, with no device's lock held.</summary>
    public void End()
    {
        lock (_lock)
        {
            _ended = true;
            Look();
            Monitor.PulseAll(_lock);
        }

        Ready?.Invoke();
    }

    /// <summary>Waits until a condition holds. One read at a time.</summary>
    /// <param name="tryRead">
    /// The condition. Called after each change, on any thread, one call at a time. If <see cref="Unread"/> is enough, it takes bytes (<see cref="Take"/>) and
    /// returns true. It must return true if the machine has ended or <paramref name="limit"/> bytes are buffered.
    /// </param>
    /// <param name="limit">Buffered bytes from which on the guest waits.</param>
    /// <param name="cancellation">Cancels the read; no bytes are taken.</param>
    /// <exception cref="InvalidOperationException">Another read is pending.</exception>
    public async Task ReadAsync(Func<bool> tryRead, int limit, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        var read = new PendingRead(tryRead);
        bool gainedRoom;
        lock (_lock)
        {
            if (_read is not null)
            {
                throw new InvalidOperationException("Another read of the console is pending: wait for it before the next one.");
            }

            bool hadRoom = HasRoom;
            _read = read;
            Volatile.Write(ref _limit, limit);
            hadRoom &= HasRoom;
            Look();
            gainedRoom = !hadRoom && HasRoom;
            Monitor.PulseAll(_lock);
        }

        if (gainedRoom)
        {
            Ready?.Invoke();
        }

        using CancellationTokenRegistration registration = cancellation.UnsafeRegister((_, token) => Cancel(read, token), null);
        await read.Task.ConfigureAwait(false);
    }

    /// <summary>Removes the first bytes of <see cref="Unread"/>. Only for the condition of a read.</summary>
    public void Take(int count)
    {
        _start += count;
        Volatile.Write(ref _count, _count - count);
        if (_count == 0)
        {
            _start = 0;
            _bytes = _bytes.Length > Full ? new byte[Initial] : _bytes; // A read with a high limit may have made the array large.
        }
    }

    // Under the lock.
    private void Look()
    {
        if (_read is { } read && read.TryRead())
        {
            EndRead();
            read.SetResult();
        }
    }

    private void Cancel(PendingRead read, CancellationToken cancellation)
    {
        lock (_lock)
        {
            if (_read == read)
            {
                EndRead();
                read.SetCanceled(cancellation);
            }
        }
    }

    private void EndRead()
    {
        _read = null;
        Volatile.Write(ref _limit, Full);
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        if (_bytes.Length - _start - _count < bytes.Length)
        {
            // Moves the bytes to the beginning, in a larger array if they fill more than half of this one.
            byte[] to = (_count + bytes.Length) * 2L > _bytes.Length ? new byte[Math.Max(_bytes.Length * 2, (_count + bytes.Length) * 2)] : _bytes;
            Unread.CopyTo(to);
            (_bytes, _start) = (to, 0);
        }

        bytes.CopyTo(_bytes.AsSpan(_start + _count));
        Volatile.Write(ref _count, _count + bytes.Length);
    }

    private sealed class PendingRead(Func<bool> tryRead) : TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)
    {
        public Func<bool> TryRead => tryRead;
    }
}
