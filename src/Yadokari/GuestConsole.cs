using System.Text;

namespace Yadokari;

/// <summary>
/// The console of a guest, as the one at its terminal has it: a stream of what it shows, and a keyboard. One read at a time, and beside it writes, from any
/// thread. What nobody reads is kept up to a mebibyte; then the guest sees a slow line, and waits where it writes. Text is UTF-8, with line ends as the guest
/// sends them, of Linux <c>\r\n</c>; what is typed comes back, where the guest echoes it. At the machine's end what is left can be read, and then the stream
/// ends. It belongs to its machine: disposing of it does nothing.
/// </summary>
public sealed class GuestConsole : Stream
{
    /// <summary>How much text is waited for where nothing else is said: 16 MiB.</summary>
    public const int DefaultLimit = 16 << 20;

    // The guest tells nobody that it has read what was typed. Only who types more than the 64 KiB that are kept for it waits.
    private static readonly TimeSpan s_typingPause = TimeSpan.FromMilliseconds(20);

    private readonly OutputBuffer _output;
    private readonly Func<ReadOnlyMemory<byte>, int> _type;
    private readonly SemaphoreSlim _typing = new(1); // Held by a write, so that others come behind it.

    /// <param name="output">What the guest puts out.</param>
    /// <param name="type">Types, and returns how many bytes there was room for.</param>
    internal GuestConsole(OutputBuffer output, Func<ReadOnlyMemory<byte>, int> type)
    {
        _output = output;
        _type = type;
    }

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <summary>Not known.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Length => throw new NotSupportedException("A console has no length.");

    /// <summary>Not known.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Position
    {
        get => throw new NotSupportedException("A console has no position.");
        set => throw new NotSupportedException("A console has no position.");
    }

    /// <summary>Reads what there is, or waits for some.</summary>
    /// <param name="buffer">Gets it. Not to be touched before the read has ended.</param>
    /// <param name="cancellationToken">Ends the read; what the guest puts out stays for the next one.</param>
    /// <returns>How many bytes; 0 at the machine's end.</returns>
    /// <exception cref="InvalidOperationException">Another read is pending.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read = 0;
        bool TryRead()
        {
            read = Math.Min(buffer.Length, _output.Unread.Length);
            _output.Unread[..read].CopyTo(buffer.Span);
            _output.Take(read);
            return read > 0 || buffer.IsEmpty || _output.HasEnded;
        }

        await _output.ReadAsync(TryRead, OutputBuffer.Full, cancellationToken).ConfigureAwait(false);
        return read;
    }

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <summary>As <see cref="ReadAsync(Memory{byte}, CancellationToken)"/>; blocks its thread.</summary>
    public override int Read(byte[] buffer, int offset, int count) => ReadAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    /// <summary>Waits until the guest has shown a text. What comes after the text is left for the next read.</summary>
    /// <param name="text">The text, on one line: where lines end differs from guest to guest.</param>
    /// <param name="limit">Bytes to wait for at most: what is shown until then is held in memory.</param>
    /// <param name="cancellationToken">Ends the wait; what was shown stays for the next read, as it does where the wait fails.</param>
    /// <returns>What was shown, up to and with the text.</returns>
    /// <exception cref="EndOfStreamException">The machine ended without it.</exception>
    /// <exception cref="InvalidDataException">So much was shown without it.</exception>
    /// <exception cref="InvalidOperationException">Another read is pending.</exception>
    public async Task<string> WaitForAsync(string text, int limit = DefaultLimit, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(text);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(limit);
        byte[] wanted = Encoding.UTF8.GetBytes(text);
        int searched = 0;
        string? shown = null;
        bool hasEnded = false;
        bool TryRead()
        {
            // The guest may put out a byte at a time: each is looked at once.
            int at = _output.Unread[searched..].IndexOf(wanted);
            if (at >= 0)
            {
                shown = Take(searched + at + wanted.Length);
                return true;
            }

            searched = Math.Max(searched, _output.Unread.Length - wanted.Length + 1);
            hasEnded = _output.HasEnded;
            return hasEnded || _output.Unread.Length >= limit;
        }

        await _output.ReadAsync(TryRead, limit, cancellationToken).ConfigureAwait(false);
        return shown
            ?? throw (hasEnded
                ? new EndOfStreamException($"The machine ended before its console showed '{text}'; what it showed can still be read.")
                : new InvalidDataException($"The console showed {limit} bytes without '{text}': read them, or give a larger limit."));
    }

    /// <summary>Reads to the machine's end.</summary>
    /// <param name="limit">Bytes to read at most.</param>
    /// <param name="cancellationToken">Ends the wait; what was shown stays for the next read, as it does where the wait fails.</param>
    /// <exception cref="InvalidDataException">More was shown.</exception>
    /// <exception cref="InvalidOperationException">Another read is pending.</exception>
    public async Task<string> ReadToEndAsync(int limit = DefaultLimit, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(limit);
        string? shown = null;
        bool TryRead()
        {
            if (_output.Unread.Length > limit)
            {
                return true;
            }

            shown = _output.HasEnded ? Take(_output.Unread.Length) : null;
            return shown is not null;
        }

        await _output.ReadAsync(TryRead, checked(limit + 1), cancellationToken).ConfigureAwait(false);
        return shown ?? throw new InvalidDataException($"The console showed more than {limit} bytes: read them as a stream, or give a larger limit.");
    }

    /// <summary>Types. Ends once there was room for all of it: 64 KiB wait for the guest to read them.</summary>
    /// <param name="buffer">Bytes. Not to be touched before the write has ended.</param>
    /// <param name="cancellationToken">Ends the write; some of it may have been typed.</param>
    /// <exception cref="IOException">The machine has ended.</exception>
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await _typing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            while (true)
            {
                if (_output.HasEnded)
                {
                    throw new IOException("The machine has ended: nobody reads what is typed.");
                }

                buffer = buffer[_type(buffer)..];
                if (buffer.IsEmpty)
                {
                    return;
                }

                await Task.Delay(s_typingPause, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            _typing.Release();
        }
    }

    /// <inheritdoc/>
    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <summary>As <see cref="WriteAsync(ReadOnlyMemory{byte}, CancellationToken)"/>; blocks its thread.</summary>
    public override void Write(byte[] buffer, int offset, int count) => WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    /// <summary>Types a text, such as control characters; as <see cref="WriteAsync(ReadOnlyMemory{byte}, CancellationToken)"/>.</summary>
    public Task WriteAsync(string text, CancellationToken cancellationToken = default) => WriteAsync(Encoding.UTF8.GetBytes(text), cancellationToken).AsTask();

    /// <summary>Types a text and a line feed; as <see cref="WriteAsync(ReadOnlyMemory{byte}, CancellationToken)"/>.</summary>
    public Task WriteLineAsync(string text, CancellationToken cancellationToken = default) => WriteAsync(text + "\n", cancellationToken);

    /// <summary>Does nothing: what is written is the guest's at once.</summary>
    public override void Flush()
    {
    }

    /// <summary>Can't be.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException("A console has no position.");

    /// <summary>Can't be.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override void SetLength(long value) => throw new NotSupportedException("A console has no length.");

    private string Take(int count)
    {
        string text = Encoding.UTF8.GetString(_output.Unread[..count]);
        _output.Take(count);
        return text;
    }
}
