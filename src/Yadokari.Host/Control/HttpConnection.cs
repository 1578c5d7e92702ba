using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Yadokari.Host.Control;

/// <summary>
/// Reads the messages of one HTTP/1.1 connection (RFC 9112) that carries one request. Strict: a malformed message is refused, and no message
/// takes more memory or time than the limits here. One thread.
/// </summary>
/// <param name="socket">The connection; not owned.</param>
/// <param name="time">How long receiving the message may take, counted from the constructor. The socket has no receive timeout afterwards.</param>
internal sealed class HttpConnection(Socket socket, TimeSpan time)
{
    private const int MaxHeadLength = 8 << 10;
    private const int MaxBodyLength = 16 << 10;

    private readonly byte[] _buffer = new byte[MaxHeadLength];
    private readonly long _deadline = Environment.TickCount64 + (long)time.TotalMilliseconds;
    private int _count; // Bytes in the buffer.
    private int _taken; // Bytes of them that were parsed.

    /// <summary>Bytes received after the message: the first bytes of an upgraded connection's protocol.</summary>
    public ReadOnlySpan<byte> Rest => _buffer.AsSpan(_taken, _count - _taken);

    /// <summary>Reads a request with its body. Null if the peer closed the connection before its first byte.</summary>
    /// <exception cref="HttpError">The message is malformed or too large, or takes too long.</exception>
    /// <exception cref="SocketException">The connection is broken.</exception>
    public HttpRequest? ReadRequest()
    {
        if (ReadHead() is not { } head)
        {
            return null;
        }

        (string method, string path) = ParseRequestLine(head.StartLine);
        if (!head.Headers.TryGetValue("Host", out string? host) || host.Contains(','))
        {
            throw new HttpError(400, "Host", "The request does not name one host", "send the header Host once, with any value"); // RFC 9112, 3.2.
        }

        if (head.Headers.ContainsKey("Transfer-Encoding"))
        {
            throw new HttpError(411, "Transfer-Encoding", "The request's body has a transfer encoding", "send it without, with a Content-Length");
        }

        int length = LengthOf(head, MaxBodyLength);
        if (head.Headers.TryGetValue("Expect", out string? expected))
        {
            if (!expected.Equals("100-continue", StringComparison.OrdinalIgnoreCase))
            {
                throw new HttpError(417, "Expect", $"The expectation '{expected}' is not supported", "leave the header out");
            }

            socket.Send("HTTP/1.1 100 Continue\r\n\r\n"u8);
        }

        return new HttpRequest(method, path, head, ReadBody(length));
    }

    /// <summary>Reads the status line and headers of a response. Null if the peer closed the connection before its first byte.</summary>
    /// <exception cref="HttpError">The message is malformed or too large, or takes too long.</exception>
    /// <exception cref="SocketException">The connection is broken.</exception>
    public (int Status, HttpHead Head)? ReadAnswer()
    {
        if (ReadHead() is not { } head)
        {
            return null;
        }

        return head.StartLine.Split(' ', 3) is ["HTTP/1.1", { Length: 3 } code, _] && int.TryParse(code, NumberStyles.None, CultureInfo.InvariantCulture, out int status)
            ? (status, head)
            : throw new HttpError(400, null, "The answer is not HTTP/1.1", "use a yado of the same version as the machine's monitor");
    }

    /// <summary>Reads a body as long as <c>Content-Length</c> says; empty without that header.</summary>
    /// <param name="head">Head of the message.</param>
    /// <param name="longest">The longest body to accept, in bytes.</param>
    /// <exception cref="HttpError">The body is longer or truncated, or takes too long.</exception>
    public byte[] ReadBody(HttpHead head, int longest) => ReadBody(LengthOf(head, longest));

    private static (string Method, string Path) ParseRequestLine(string line)
    {
        if (line.Split(' ') is not [{ Length: > 0 } method, { Length: > 0 } target, { Length: > 0 } version] || !method.All(IsTokenCharacter))
        {
            throw new HttpError(400, null, "The request does not begin with a method, a path and a version", "write it as in GET /machine HTTP/1.1");
        }

        if (version != "HTTP/1.1")
        {
            throw new HttpError(version.StartsWith("HTTP/", StringComparison.Ordinal) ? 505 : 400, null, $"The version {Shown(version)} is not supported", "use HTTP/1.1");
        }

        const string scheme = "http://"; // RFC 9112, 3.2.2: a server must accept the absolute form too.
        if (target.StartsWith(scheme, StringComparison.OrdinalIgnoreCase))
        {
            int slash = target.IndexOf('/', scheme.Length);
            target = slash < 0 ? "/" : target[slash..];
        }

        return target[0] == '/' && target.All(c => c is > ' ' and < '\x7F')
            ? (method, target)
            : throw new HttpError(400, null, "The request's path does not begin with a slash", "write it as in GET /machine HTTP/1.1");
    }

    private static int LengthOf(HttpHead head, int longest)
    {
        if (!head.Headers.TryGetValue("Content-Length", out string? text))
        {
            return 0;
        }

        return !text.All(char.IsAsciiDigit) || text.Length == 0 ? throw new HttpError(400, "Content-Length", $"The length {Shown(text)} of the body is not a number", "send the header once, with the number of bytes")
            : text.Length < 10 && int.Parse(text, CultureInfo.InvariantCulture) is var length && length <= longest ? length
            : throw new HttpError(413, "Content-Length", $"The body has {Shown(text)} bytes", $"send no more than {longest}");
    }

    private HttpHead? ReadHead()
    {
        int end;
        while ((end = _buffer.AsSpan(0, _count).IndexOf("\r\n\r\n"u8)) < 0)
        {
            if (_count == _buffer.Length)
            {
                throw new HttpError(431, null, $"The headers have more than {MaxHeadLength} bytes", "send fewer");
            }

            if (Receive(_buffer.AsSpan(_count)) is var count && count == 0)
            {
                return _count == 0 ? null : throw new HttpError(400, null, "The message ends within its headers", "end them with an empty line");
            }

            _count += count;
        }

        string[] lines = Encoding.Latin1.GetString(_buffer, 0, end).Split("\r\n");
        _taken = end + 4;
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (string line in lines[1..])
        {
            int colon = line.IndexOf(':');
            string name = colon < 0 ? "" : line[..colon];
            string value = line[(colon + 1)..].Trim(' ', '\t');
            if (name.Length == 0 || !name.All(IsTokenCharacter) || value.Any(c => char.IsControl(c) && c != '\t')) // A folded line begins with a space or tab.
            {
                throw new HttpError(400, null, $"The message has a header {Shown(line)}", "write each on a line of its own, as in Host: localhost");
            }

            headers[name] = headers.TryGetValue(name, out string? before) ? $"{before},{value}" : value;
        }

        return lines[0].Any(char.IsControl)
            ? throw new HttpError(400, null, "The message's first line has control characters", "end lines with a carriage return and a line feed")
            : new HttpHead(lines[0], headers);
    }

    private byte[] ReadBody(int length)
    {
        byte[] body = new byte[length];
        int have = Math.Min(length, _count - _taken);
        _buffer.AsSpan(_taken, have).CopyTo(body);
        _taken += have;
        while (have < length)
        {
            int count = Receive(body.AsSpan(have));
            have += count > 0 ? count : throw new HttpError(400, "Content-Length", $"The body ends after {have} of {length} bytes", "send as many as the header says");
        }

        return body;
    }

    private int Receive(Span<byte> into)
    {
        long left = _deadline - Environment.TickCount64;
        try
        {
            socket.ReceiveTimeout = left > 0 ? (int)left : throw new SocketException((int)SocketError.TimedOut);
            return socket.Receive(into);
        }
        catch (SocketException error) when (error.SocketErrorCode is SocketError.TimedOut or SocketError.WouldBlock)
        {
            throw new HttpError(408, null, $"The message did not arrive within {time.TotalSeconds} seconds", "send all of it at once");
        }
        finally
        {
            socket.ReceiveTimeout = 0;
        }
    }

    // RFC 9110, 5.6.2.
    private static bool IsTokenCharacter(char c) => char.IsAsciiLetterOrDigit(c) || "!#$%&'*+-.^_`|~".Contains(c);

    private static string Shown(string text)
    {
        const int longest = 40;
        return $"'{(text.Length > longest ? text[..longest] + "..." : text)}'";
    }
}
