using System.Text;

namespace Yadokari;

/// <summary>
/// The terminal of a guest's console: reading returns the guest's output, writing types. Any thread; one read at a time, also while a write is pending.
/// Unread output is buffered up to 1 MiB; then the guest blocks when it writes, as with a slow line. Text is UTF-8, with line ends as the guest sends them
/// (Linux sends <c>\r\n</c>). A guest that echoes input sends it back. When the machine has ended, the buffered output can be read, and then the stream
/// ends. The machine owns the console: disposing of it does nothing.
/// </summary>
public sealed class GuestConsole : Stream
{
    /// <summary>The default limit of buffered text: 16 MiB.</summary>
    public const int DefaultLimit = 16 << 20;

    // No event tells when the guest has read its input, so a write polls. Only a write that exceeds the 64 KiB buffer of input waits.
    private static readonly TimeSpan s_typingPause = TimeSpan.FromMilliseconds(20);

    private readonly OutputBuffer _output;
    private readonly Func<ReadOnlyMemory<byte>, int> _type;
    private readonly SemaphoreSlim _typing = new(1); // Held during a write, so that concurrent writes do not mix.

    /// <param name="output">The guest's output.</param>
    /// <param name="type">Types, and returns how many bytes the input buffer had room for.</param>
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

    /// <summary>Not supported.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Length => throw new NotSupportedException("A console has no length.");

    /// <summary>Not supported.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Position
    {
        get => throw new NotSupportedException("A console has no position.");
        set => throw new NotSupportedException("A console has no position.");
    }

    /// <summary>Reads the available output; waits if there is none.</summary>
    /// <param name="buffer">Receives the output. The caller must not use it before the read has ended.</param>
    /// <param name="cancellationToken">Cancels the read; the output is kept for the next one.</param>
    /// <returns>Count of bytes; 0 if the machine has ended.</returns>
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

    /// <summary>Waits until the guest's output contains a text. Output after the text is kept for the next read.</summary>
    /// <param name="text">The text, without line ends, because those differ between guests.</param>
    /// <param name="limit">The largest count of bytes to buffer until the text comes.</param>
    /// <param name="cancellationToken">Cancels the wait. The output is kept for the next read then, and also if the wait fails.</param>
    /// <returns>The output up to and including the text.</returns>
    /// <exception cref="EndOfStreamException">The machine ended before the text came.</exception>
    /// <exception cref="InvalidDataException">The limit was reached before the text came.</exception>
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
            // The guest may write a byte at a time: do not search the old bytes again.
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
    /// <param name="limit">The largest count of bytes to read.</param>
    /// <param name="cancellationToken">Cancels the wait. The output is kept for the next read then, and also if the wait fails.</param>
    /// <exception cref="InvalidDataException">The output is longer than the limit.</exception>
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

    /// <summary>Types. Completes when all bytes are in the input buffer, which has room for 64 KiB that the guest has not read yet.</summary>
    /// <param name="buffer">The bytes. The caller must not change them before the write has ended.</param>
    /// <param name="cancellationToken">Cancels the write; part of it may have been typed.</param>
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
                    throw new IOException("The machine has ended, so its console takes no input.");
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

    /// <summary>Does nothing: writes are not buffered on the host's side.</summary>
    public override void Flush()
    {
    }

    /// <summary>Not supported.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException("A console has no position.");

    /// <summary>Not supported.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override void SetLength(long value) => throw new NotSupportedException("A console has no length.");

    private string Take(int count)
    {
        string text = Encoding.UTF8.GetString(_output.Unread[..count]);
        _output.Take(count);
        return text;
    }
}
