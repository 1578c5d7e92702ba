using Yadokari.Devices.Serial;

namespace Yadokari;

/// <summary>
/// What the guest put out on its console and nobody read yet. Devices that can make the guest wait do so from <see cref="Full"/> bytes on; those that can't
/// have some room more, and then hold the vCPU that writes up.
/// </summary>
/// <param name="discards">Whether output is dropped rather than kept.</param>
internal sealed class OutputBuffer(bool discards = false) : IConsole
{
    /// <summary>Bytes that are kept while nobody reads.</summary>
    public const int Full = 1 << 20;

    private const int Spare = 64 << 10;
    private const int Initial = 4096;

    private readonly object _lock = new(); // Guards what follows. Reads' conditions are asked inside it; handlers of Ready are not called there.
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

    /// <summary>Whether the machine has ended: nothing comes after what is here. Any thread.</summary>
    public bool HasEnded => Volatile.Read(ref _ended);

    /// <summary>What is here. Only inside a read's condition.</summary>
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
                gainedRoom = !hasRoom && HasRoom; // Another device may have seen it full in between.
            }

            if (gainedRoom)
            {
                Ready?.Invoke();
            }
        }
    }

    /// <summary>Drops what comes from now on, and lets go of who waits. Any thread, with no device's lock held.</summary>
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

    /// <summary>Reads once a condition holds. One read at a time.</summary>
    /// <param name="tryRead">
    /// Asked after each change, on any thread, one at a time. If what is <see cref="Unread"/> is enough, it takes of it (<see cref="Take"/>) and returns
    /// true. At the end, and once <paramref name="limit"/> bytes are here, it has to.
    /// </param>
    /// <param name="limit">Bytes from which on the guest waits.</param>
    /// <param name="cancellation">Ends the read with nothing taken.</param>
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
                throw new InvalidOperationException("The console is being read already: one read ends before the next begins.");
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

    /// <summary>Takes the first of <see cref="Unread"/>. Only inside a read's condition.</summary>
    public void Take(int count)
    {
        _start += count;
        Volatile.Write(ref _count, _count - count);
        if (_count == 0)
        {
            _start = 0;
            _bytes = _bytes.Length > Full ? new byte[Initial] : _bytes; // A long wait for a text made it large.
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
            // What is here moves to the beginning: of a larger array where it would soon have to move again.
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
