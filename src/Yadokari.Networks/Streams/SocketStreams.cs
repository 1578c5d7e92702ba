using System.Globalization;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Linux;

namespace Yadokari.Networks.Streams;

/// <summary>
/// Ports as sockets in the file system, as Firecracker has them. A program that wants a port of the guest's connects to the one socket, says
/// <c>CONNECT PORT</c> on a line, and hears <c>OK PORT</c> once the guest has taken it. A port of the host's is who listens at
/// <c>PATH_PORT</c>. One thread waits for all sockets. Any thread.
/// </summary>
public sealed class SocketStreams : IStreamHost
{
    private const ulong ListenerToken = 0;
    private const int MostAsking = 64;
    private const int LongestLine = 32;
    private const int MostEvents = 64;

    private readonly Lock _lock = new(); // Guards the table. Nothing is called under it but the kernel.
    private readonly Dictionary<ulong, Stream> _streams = [];
    private readonly Queue<Stream> _asking = new(); // Have connected, and not said what they want, or gone since.
    private readonly Epoll _epoll = new();
    private readonly HostSocket _listener;
    private readonly string _path;
    private readonly Thread _thread;
    private ulong _lastToken;
    private volatile bool _stopping;

    /// <summary>Listens.</summary>
    /// <param name="path">The socket's name; it goes with this object.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public SocketStreams(string path, Action<Exception>? failed = null)
    {
        _path = path;
        try
        {
            _listener = LocalListener.Open(path, _epoll, ListenerToken);
        }
        catch
        {
            _epoll.Dispose();
            throw;
        }

        _thread = HostThread.Start("vsock", Main, failed);
    }

    /// <inheritdoc/>
    public Action<uint, IHostStream>? Asked { get; set; }

    /// <inheritdoc/>
    public IHostStream? Connect(uint port)
    {
        string path = string.Create(CultureInfo.InvariantCulture, $"{_path}_{port}");
        if (Encoding.UTF8.GetByteCount(path) > HostSocket.LongestPath || HostSocket.OpenLocal() is not { } socket)
        {
            return null;
        }

        if (socket.ConnectLocal(path) == 0 && Add(socket) is { } stream)
        {
            return stream;
        }

        socket.Dispose();
        return null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping = true;
        _epoll.Wake();
        _thread.Join();
        foreach (Stream stream in _streams.Values.ToArray())
        {
            stream.Dispose();
        }

        _listener.Dispose();
        _epoll.Dispose();
        File.Delete(_path);
    }

    /// <summary>A connection. What it is asked for comes from its owner's threads, one at a time; what it hears, from the one that waits.</summary>
    private sealed class Stream(SocketStreams owner, HostSocket socket, ulong token) : IHostStream
    {
        private readonly byte[] _line = new byte[LongestLine];
        private int _length;
        private volatile bool _ended;

        public Action? Ready { get; set; }

        public bool HasEnded => _ended;

        public void Accept(uint port) => Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"OK {port}\n")));

        public int Read(Span<byte> data) => socket.Receive(data) is var count && count >= 0 ? count : count == HostSocket.Again ? -1 : 0;

        public int Write(ReadOnlySpan<byte> data) => socket.Send(data) is var count && count >= 0 ? count : count == HostSocket.Again ? 0 : -1;

        public void EndWriting() => socket.EndSending();

        public void OnReady(Readiness readiness)
        {
            _ended |= (readiness & (Readiness.HungUp | Readiness.Error)) != 0;
            Ready?.Invoke();
        }

        // Takes the line alone, byte by byte: what follows is the guest's. True if it is whole; null if it won't be.
        public bool? TakeLine(out uint port)
        {
            port = 0;
            while (_length < LongestLine)
            {
                int count = socket.Receive(_line.AsSpan(_length, 1));
                if (count <= 0)
                {
                    return count == HostSocket.Again ? false : null;
                }

                if (_line[_length++] == '\n')
                {
                    const string word = "CONNECT ";
                    string line = Encoding.ASCII.GetString(_line, 0, _length - 1);
                    return line.StartsWith(word, StringComparison.Ordinal) && uint.TryParse(line.AsSpan(word.Length), NumberStyles.None, CultureInfo.InvariantCulture, out port)
                        ? true : null;
                }
            }

            return null;
        }

        public void Dispose()
        {
            owner.Remove(token);
            socket.Dispose();
        }
    }

    private Stream? Add(HostSocket socket)
    {
        lock (_lock)
        {
            var stream = new Stream(this, socket, ++_lastToken);
            _streams.Add(_lastToken, stream);
            if (_epoll.TryAdd(socket.Descriptor, _lastToken, Readiness.Read | Readiness.Write))
            {
                return stream;
            }

            _streams.Remove(_lastToken);
            return null;
        }
    }

    private void Remove(ulong token)
    {
        lock (_lock)
        {
            _streams.Remove(token);
        }
    }

    private void Main()
    {
        Span<ReadyEvent> events = stackalloc ReadyEvent[MostEvents];
        while (!_stopping)
        {
            int count = _epoll.Wait(events, -1);
            foreach ((Readiness readiness, ulong token) in events[..count])
            {
                if (token == ListenerToken)
                {
                    TakeAll();
                }
                else if (Find(token) is { } stream)
                {
                    Hear(stream, readiness);
                }
            }
        }
    }

    private Stream? Find(ulong token)
    {
        lock (_lock)
        {
            return _streams.GetValueOrDefault(token);
        }
    }

    private void TakeAll()
    {
        while (_listener.Accept() is { } socket)
        {
            if (Add(socket) is not { } stream)
            {
                socket.Dispose();
                continue;
            }

            _asking.Enqueue(stream);
            if (_asking.Count > MostAsking)
            {
                _asking.Dequeue().Dispose(); // Whoever waits longest.
            }

            // What came before is not told of.
            Hear(stream, 0);
        }
    }

    private void Hear(Stream stream, Readiness readiness)
    {
        if (!_asking.Contains(stream))
        {
            stream.OnReady(readiness);
            return;
        }

        bool? whole = stream.TakeLine(out uint port);
        if (whole == false)
        {
            return;
        }

        for (int i = _asking.Count; i > 0; i--)
        {
            if (_asking.Dequeue() is var other && other != stream)
            {
                _asking.Enqueue(other);
            }
        }

        if (whole == true && Asked is { } asked)
        {
            asked(port, stream);
        }
        else
        {
            stream.Dispose();
        }
    }
}
