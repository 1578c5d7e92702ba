using System.Globalization;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Linux;

namespace Yadokari.Networks.Streams;

/// <summary>
/// vsock ports as Unix domain sockets, as Firecracker has them. To connect to a port of the guest, a program connects to the one socket, sends the
/// line <c>CONNECT PORT</c>, and receives <c>OK PORT</c> once the guest has accepted. A port of the host is a program that listens at
/// <c>PATH_PORT</c>. One thread waits for all sockets. Any thread.
/// </summary>
public sealed class SocketStreams : IStreamHost
{
    private const ulong ListenerToken = 0;
    private const int MaxHandshakes = 64;
    private const int MaxLineLength = 32;
    private const int MaxEvents = 64;

    private readonly Lock _lock = new(); // Guards the table. Only system calls are made under it.
    private readonly Dictionary<ulong, Stream> _streams = [];
    private readonly Queue<Stream> _handshakes = new(); // Clients without a complete CONNECT line, and some that have sent one or disconnected since.
    private readonly Epoll _epoll = new();
    private readonly HostSocket _listener;
    private readonly string _path;
    private readonly Thread _thread;
    private ulong _lastToken;
    private volatile bool _stopping;

    /// <summary>Creates the socket and listens.</summary>
    /// <param name="path">The socket's path; <see cref="Dispose"/> deletes the file.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="UserErrorException">The socket can't be created.</exception>
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
    public Action<uint, IHostStream>? ConnectionRequested { get; set; }

    /// <inheritdoc/>
    public IHostStream? Connect(uint port)
    {
        string path = string.Create(CultureInfo.InvariantCulture, $"{_path}_{port}");
        if (Encoding.UTF8.GetByteCount(path) > HostSocket.MaxPathLength || HostSocket.OpenLocal() is not { } socket)
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

    /// <summary>A connection. Its owner calls it from one thread at a time; the epoll thread reports readiness.</summary>
    private sealed class Stream(SocketStreams owner, HostSocket socket, ulong token) : IHostStream
    {
        private readonly byte[] _line = new byte[MaxLineLength];
        private int _length;
        private volatile bool _hasEnded;

        public Action? Ready { get; set; }

        public bool HasEnded => _hasEnded;

        public void Accept(uint port) => Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"OK {port}\n")));

        public int Read(Span<byte> data) => socket.Receive(data) is var count && count >= 0 ? count : count == HostSocket.Again ? -1 : 0;

        public int Write(ReadOnlySpan<byte> data) => socket.Send(data) is var count && count >= 0 ? count : count == HostSocket.Again ? 0 : -1;

        public void EndWriting() => socket.ShutdownSend();

        public void OnReady(Readiness readiness)
        {
            _hasEnded |= (readiness & (Readiness.HungUp | Readiness.Error)) != 0;
            Ready?.Invoke();
        }

        // Reads the CONNECT line byte by byte: the bytes behind it are the guest's. True if the line is complete; null if it is malformed or the stream ended.
        public bool? ReadLine(out uint port)
        {
            port = 0;
            while (_length < MaxLineLength)
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
        Span<ReadyEvent> events = stackalloc ReadyEvent[MaxEvents];
        while (!_stopping)
        {
            int count = _epoll.Wait(events, -1);
            foreach ((Readiness readiness, ulong token) in events[..count])
            {
                if (token == ListenerToken)
                {
                    AcceptAll();
                }
                else if (Find(token) is { } stream)
                {
                    HandleEvent(stream, readiness);
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

    private void AcceptAll()
    {
        while (_listener.Accept() is { } socket)
        {
            if (Add(socket) is not { } stream)
            {
                socket.Dispose();
                continue;
            }

            _handshakes.Enqueue(stream);
            if (_handshakes.Count > MaxHandshakes)
            {
                _handshakes.Dequeue().Dispose(); // The one that connected first.
            }

            // epoll reports no event for bytes that arrived before the socket was added.
            HandleEvent(stream, 0);
        }
    }

    private void HandleEvent(Stream stream, Readiness readiness)
    {
        if (!_handshakes.Contains(stream))
        {
            stream.OnReady(readiness);
            return;
        }

        bool? whole = stream.ReadLine(out uint port);
        if (whole == false)
        {
            return;
        }

        for (int i = _handshakes.Count; i > 0; i--)
        {
            if (_handshakes.Dequeue() is var other && other != stream)
            {
                _handshakes.Enqueue(other);
            }
        }

        if (whole == true && ConnectionRequested is { } asked)
        {
            asked(port, stream);
        }
        else
        {
            stream.Dispose();
        }
    }
}
