using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Host.Consoles;

namespace Yadokari.Host.Control;

/// <summary>What a monitor does when asked. All may be called from any thread.</summary>
/// <param name="PressPower">Presses the power button.</param>
/// <param name="End">Ends the run with an exit code.</param>
/// <param name="Type">Types into the console.</param>
/// <param name="Resize">Tells the guest of the size of its console's terminal: rows, columns.</param>
/// <param name="Balloon">As <see cref="IGuestMachine.Balloon"/>; null where the machine ends just now.</param>
/// <param name="Fail">Ends the run by an exception that nothing expected.</param>
internal sealed record MonitorControls(
    Action PressPower, Action<int> End, TypedInput.TypeKeys Type, Action<int, int> Resize, Func<ulong?, (ulong Now, ulong Full)?> Balloon, Action<Exception> Fail);

/// <summary>
/// Takes requests for a machine that runs, by a socket in its folder: a line each, answered with <c>ok</c>. After <c>console</c> the connection
/// is the console itself, whose terminal has the rows and columns of <c>size</c>; after <c>balloon</c>, with or without bytes, a line says what
/// the guest has and had at first. Whoever may open the socket is the user.
/// </summary>
internal sealed class ControlServer : IDisposable
{
    private const int MaxPath = 107; // sun_path of unix(7), with its end.
    private const int RecentLength = 4096;

    private readonly Socket _listener;
    private readonly string _path;
    private readonly Lock _lock = new();
    private readonly List<Socket> _watchers = []; // Guarded by _lock, as is _recent.
    private byte[] _recent = [];

    private ControlServer(string path, Socket listener)
    {
        _path = path;
        _listener = listener;
    }

    /// <summary>Makes the socket; nobody is answered before <see cref="Begin"/>. The caller holds the machine's lock.</summary>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public static ControlServer Open(string path)
    {
        if (Encoding.UTF8.GetByteCount(path) > MaxPath)
        {
            throw new UserErrorException($"The path {path} is too long for a socket: set XDG_DATA_HOME to a folder whose path is shorter.");
        }

        File.Delete(path);
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen();
            return new ControlServer(path, listener);
        }
        catch (SocketException error)
        {
            listener.Dispose();
            throw new UserErrorException($"The socket {path} can't be made ({error.Message.TrimEnd('.')}): set XDG_DATA_HOME to a folder of the host's own.");
        }
    }

    /// <summary>Starts to answer.</summary>
    public void Begin(MonitorControls controls) => HostThread.Start("control", () => Accept(controls), controls.Fail);

    /// <summary>Shows the console's output to those who watch. One thread; one who does not read within a second watches no more.</summary>
    public void Show(ReadOnlySpan<byte> output)
    {
        lock (_lock)
        {
            ReadOnlySpan<byte> tail = output[Math.Max(0, output.Length - RecentLength)..];
            ReadOnlySpan<byte> kept = _recent.AsSpan(Math.Max(0, _recent.Length + tail.Length - RecentLength));
            _recent = [.. kept, .. tail];
            for (int i = _watchers.Count - 1; i >= 0; i--)
            {
                if (!TrySend(_watchers[i], output))
                {
                    _watchers[i].Dispose();
                    _watchers.RemoveAt(i);
                }
            }
        }
    }

    /// <summary>Ends all connections and removes the socket.</summary>
    public void Dispose()
    {
        _listener.Dispose();
        File.Delete(_path);
        lock (_lock)
        {
            _watchers.ForEach(w => w.Dispose());
            _watchers.Clear();
        }
    }

    private void Accept(MonitorControls controls)
    {
        while (true)
        {
            try
            {
                Socket client = _listener.Accept();
                HostThread.Start("control client", () => Serve(client, controls), controls.Fail);
            }
            catch (Exception error) when (error is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private void Serve(Socket client, MonitorControls controls)
    {
        try
        {
            client.SendTimeout = 1000;
            string[] words = ReadLine(client).Split(' ');
            switch (words[0])
            {
                case "balloon" when controls.Balloon(words.Length > 1 && ulong.TryParse(words[1], out ulong wanted) ? wanted : null) is var (now, full):
                    client.Send(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"ok\n{now} {full}\n")));
                    client.Dispose();
                    return;
                case "size" when words.Length == 3 && ushort.TryParse(words[1], out ushort rows) && ushort.TryParse(words[2], out ushort columns):
                    controls.Resize(rows, columns);
                    break;
                case "power":
                    controls.PressPower();
                    break;
                case "kill":
                    client.Send("ok\n"u8);
                    controls.End(ExitCodes.Signal(9));
                    break;
                case "console":
                    client.Send("ok\n"u8);
                    Watch(client, controls);
                    return;
                default:
                    client.Send("no such request\n"u8);
                    client.Dispose();
                    return;
            }

            client.Send("ok\n"u8);
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            // Whoever asked has gone.
        }

        client.Dispose();
    }

    private void Watch(Socket client, MonitorControls controls)
    {
        lock (_lock)
        {
            if (!TrySend(client, _recent))
            {
                client.Dispose();
                return;
            }

            _watchers.Add(client);
        }

        byte[] keys = new byte[256];
        try
        {
            while (client.Receive(keys) is int count and > 0)
            {
                TypedInput.TypeAll(controls.Type, keys.AsSpan(0, count));
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            // The same as its end.
        }

        lock (_lock)
        {
            _watchers.Remove(client);
        }

        client.Dispose();
    }

    private static string ReadLine(Socket client)
    {
        const int longest = 100;
        var line = new StringBuilder();
        byte[] one = new byte[1];
        client.ReceiveTimeout = 5000;
        while (line.Length < longest && client.Receive(one) == 1 && one[0] != '\n')
        {
            line.Append((char)one[0]);
        }

        client.ReceiveTimeout = 0;
        return line.ToString();
    }

    private static bool TrySend(Socket client, ReadOnlySpan<byte> bytes)
    {
        try
        {
            while (!bytes.IsEmpty)
            {
                bytes = bytes[client.Send(bytes)..];
            }

            return true;
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            return false;
        }
    }
}
