using System.Text;

namespace Yadokari.Host.Consoles;

/// <summary>
/// Buffers text and writes whole lines to a stream, many at a time. Disposing writes the rest; later writes are dropped, because a machine
/// that could not be stopped may keep writing. Any thread. A line that is written in one call is never mixed with another thread's.
/// </summary>
/// <param name="stream">Receives the lines; not disposed.</param>
internal sealed class LineWriter(Stream stream) : TextWriter
{
    private const int Enough = 1 << 16;

    private readonly Lock _lock = new(); // Guards all below, and the stream.
    private readonly char[] _one = new char[1];
    private byte[] _bytes = new byte[Enough * 2];
    private int _count;
    private int _whole; // Bytes of complete lines among them.
    private bool _ended;

    /// <inheritdoc/>
    public override Encoding Encoding => Encoding.UTF8;

    /// <inheritdoc/>
    public override void Write(char value)
    {
        lock (_lock)
        {
            _one[0] = value;
            Write(_one);
        }
    }

    /// <inheritdoc/>
    public override void Write(string? value) => Write(value.AsSpan());

    /// <inheritdoc/>
    public override void Write(char[] buffer, int index, int count) => Write(buffer.AsSpan(index, count));

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<char> buffer)
    {
        lock (_lock)
        {
            if (_ended)
            {
                return;
            }

            int most = Encoding.UTF8.GetMaxByteCount(buffer.Length);
            if (_bytes.Length - _count < most)
            {
                Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _count + most));
            }

            int length = Encoding.UTF8.GetBytes(buffer, _bytes.AsSpan(_count));
            int line = _bytes.AsSpan(_count, length).LastIndexOf((byte)'\n');
            _whole = line < 0 ? _whole : _count + line + 1;
            _count += length;
            if (_whole >= Enough)
            {
                Flush();
            }
        }
    }

    /// <inheritdoc/>
    public override void WriteLine(string? value) => Write(value + "\n");

    /// <inheritdoc/>
    public override void Flush()
    {
        lock (_lock)
        {
            stream.Write(_bytes.AsSpan(0, _whole));
            _bytes.AsSpan(_whole, _count - _whole).CopyTo(_bytes);
            _count -= _whole;
            _whole = 0;
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        lock (_lock)
        {
            if (disposing && !_ended)
            {
                Flush();
                _ended = true;
            }
        }

        base.Dispose(disposing);
    }
}
