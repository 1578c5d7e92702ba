using System.Net;
using System.Net.Sockets;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;

namespace Yadokari.Debugging.Gdb;

/// <summary>
/// Serves the GDB remote serial protocol over TCP, to one debugger at a time; further connections are closed at once. A debugger stops the guest when it
/// connects; the guest resumes when it disconnects. Invalid input can't end the server or the machine.
/// A client that can connect to the port controls the guest: the server listens on the loopback interface by default.
/// </summary>
public sealed class GdbServer : IDisposable
{
    private const int SendTimeoutMilliseconds = 10_000;
    private const int FarewellMilliseconds = 1_000;

    private readonly DebugTarget _target;
    private readonly TcpListener _listener;
    private readonly Action<string>? _log;
    private readonly Action<Exception>? _failed;
    private readonly Thread _thread;

    // Guards _session.
    private readonly Lock _lock = new();
    private GdbSession? _session;
    private volatile bool _disposed;

    private GdbServer(DebugTarget target, TcpListener listener, Action<string>? log, Action<Exception>? failed)
    {
        _target = target;
        _listener = listener;
        _log = log;
        _failed = failed;
        EndPoint = (IPEndPoint)listener.LocalEndpoint;
        _thread = HostThread.Start("gdb server", Accept, failed);
    }

    /// <summary>The listening address, with the actual port.</summary>
    public IPEndPoint EndPoint { get; }

    /// <summary>Begins to listen.</summary>
    /// <param name="target">The machine.</param>
    /// <param name="port">0 to 65535; 0 takes any free one.</param>
    /// <param name="address">Loopback (IPv4) if not given.</param>
    /// <param name="log">Called with a line when a debugger connects or disconnects. On the server's threads.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>, for the server's threads.</param>
    /// <exception cref="UserErrorException">The port is out of range, taken or forbidden, or the address is not this host's.</exception>
    public static GdbServer Start(DebugTarget target, int port, IPAddress? address = null, Action<string>? log = null, Action<Exception>? failed = null)
    {
        if (port is < 0 or > 65535)
        {
            throw new UserErrorException($"--gdb {port}: not a TCP port; give a number from 1 to 65535, or 0 for any free one");
        }

        address ??= IPAddress.Loopback;
        var listener = new TcpListener(address, port);
        try
        {
            listener.Start();
        }
        catch (SocketException exception)
        {
            listener.Dispose();
            throw new UserErrorException(exception.SocketErrorCode switch
            {
                SocketError.AddressAlreadyInUse => $"--gdb {port}: another program listens on port {port} of {address}; give another port, or 0 for any free one",
                SocketError.AccessDenied => $"--gdb {port}: this user may not listen on port {port}; give a port from 1024 to 65535",
                SocketError.AddressNotAvailable => $"--gdb {port}: {address} is not an address of this host; leave it out to listen on the loopback interface",
                _ => $"--gdb {port}: can't listen on port {port} of {address} ({exception.Message}); give another port",
            });
        }

        return new GdbServer(target, listener, log, failed);
    }

    /// <summary>Stops listening and ends the session, after it has sent the machine's last report to the debugger.</summary>
    public void Dispose()
    {
        _disposed = true;
        _listener.Dispose();
        GdbSession? session;
        lock (_lock)
        {
            session = _session;
        }

        session?.Close(TimeSpan.FromMilliseconds(FarewellMilliseconds));
        _thread.Join();
    }

    private void Accept()
    {
        while (!_disposed)
        {
            TcpClient client;
            try
            {
                client = _listener.AcceptTcpClient();
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException or InvalidOperationException)
            {
                if (_disposed)
                {
                    return;
                }

                // Out of descriptors, or the client disconnected in the queue: try again.
                Thread.Sleep(100);
                continue;
            }

            try
            {
                client.NoDelay = true;
                client.SendTimeout = SendTimeoutMilliseconds;
                client.Client.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            }
            catch (SocketException)
            {
                client.Dispose();
                continue;
            }

            GdbSession session;
            lock (_lock)
            {
                if (_session is not null || _disposed)
                {
                    _log?.Invoke("gdb: a debugger is attached already, another was sent away");
                    client.Dispose();
                    continue;
                }

                _session = session = new GdbSession(_target, client, OnEnded, _failed);
            }

            _log?.Invoke("gdb: a debugger attached");
            try
            {
                session.Start();
            }
            catch (InvalidOperationException)
            {
                // Another server serves the same machine.
                client.Dispose();
                OnEnded();
            }
        }
    }

    private void OnEnded()
    {
        lock (_lock)
        {
            _session = null;
        }

        _log?.Invoke("gdb: the debugger left");
    }
}
