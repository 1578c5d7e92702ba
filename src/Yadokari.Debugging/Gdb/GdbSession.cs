using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text;
using Yadokari.Core.Lifetimes;

namespace Yadokari.Debugging.Gdb;

/// <summary>
/// A debugger's connection. A reader thread parses the client's bytes into packets. The session's thread handles packets and reports of the machine in
/// order, and is the only one that accesses vCPUs.
/// </summary>
internal sealed class GdbSession
{
    private const int QueuedInputs = 64;

    private enum InputKind
    {
        Packet,
        BadPacket,
        Resend,
        Interrupt,
        Closed,
        Reported,
    }

    private readonly record struct Input(InputKind Kind, byte[] Packet);

    private readonly DebugTarget _target;
    private readonly TcpClient _client;
    private readonly NetworkStream _stream;
    private readonly Action _ended;
    private readonly PacketReader _reader = new(GdbCommands.PacketSize);
    private readonly BlockingCollection<Input> _inputs = [];

    // Limits the queued packets of a client that floods; reports of the machine never wait.
    private readonly SemaphoreSlim _room = new(QueuedInputs);
    private readonly CancellationTokenSource _over = new();
    private readonly GdbCommands _commands;
    private readonly Action<Exception>? _failed;
    private readonly ManualResetEventSlim _done = new();
    private volatile bool _started;
    private byte[] _last = [];
    private bool _acknowledge = true;
    private bool _running = true;

    /// <summary>
    /// Takes ownership of a connection. <paramref name="ended"/> is called on the session's thread when the session has ended;
    /// <paramref name="failed"/> is as with <see cref="HostThread.Start"/>.
    /// </summary>
    public GdbSession(DebugTarget target, TcpClient client, Action ended, Action<Exception>? failed)
    {
        _target = target;
        _client = client;
        _stream = client.GetStream();
        _ended = ended;
        _failed = failed;
        _commands = new GdbCommands(target);
    }

    /// <summary>Attaches to the machine and begins to serve.</summary>
    public void Start()
    {
        _target.Attach(() => _inputs.Add(new Input(InputKind.Reported, [])));
        _started = true; // Set before the thread may send, because Close waits for a started session.
        HostThread.Start("gdb reader", Receive, _failed);
        HostThread.Start("gdb session", Run, _failed);
    }

    /// <summary>Ends the session, after waiting up to the timeout for queued replies. Any thread.</summary>
    public void Close(TimeSpan timeout)
    {
        _inputs.Add(new Input(InputKind.Closed, []));
        if (!_started || !_done.Wait(timeout))
        {
            _client.Dispose();
        }
    }

    private void Receive()
    {
        byte[] buffer = new byte[4096];
        try
        {
            for (int length; (length = _stream.Read(buffer)) > 0;)
            {
                foreach (byte value in buffer.AsSpan(0, length))
                {
                    ClientEvent what = _reader.Push(value);
                    if (what == ClientEvent.None)
                    {
                        continue;
                    }

                    _room.Wait(_over.Token);
                    InputKind kind = what switch
                    {
                        ClientEvent.Packet => InputKind.Packet,
                        ClientEvent.BadPacket => InputKind.BadPacket,
                        ClientEvent.Resend => InputKind.Resend,
                        _ => InputKind.Interrupt,
                    };
                    _inputs.Add(new Input(kind, what == ClientEvent.Packet ? _reader.Packet : []));
                }
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or OperationCanceledException)
        {
            // The client has disconnected: there is nothing to report.
        }

        _inputs.Add(new Input(InputKind.Closed, []));
    }

    private void Run()
    {
        try
        {
            // The machine stops first: every answer is about a stopped machine.
            if (_target.Stop() is { Reason: not DebugStopReason.Ended } stop)
            {
                _running = false;
                _commands.OnStopped(stop);
                while (Serve())
                {
                }
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The client does not read, or disconnected during a reply.
        }
        finally
        {
            _target.Detach();
            _over.Cancel();
            _client.Dispose();
            _ended();
            _done.Set();
        }
    }

    /// <summary>Handles one input; false ends the session.</summary>
    private bool Serve()
    {
        Input input = _inputs.Take();
        if (input.Kind is not (InputKind.Reported or InputKind.Closed))
        {
            _room.Release();
        }

        switch (input.Kind)
        {
            case InputKind.Closed:
                return false;

            case InputKind.Reported:
                return !_target.HasReport || Stop(); // An earlier stop may have reported it.

            case InputKind.Interrupt:
                return !_running || Stop();

            case InputKind.BadPacket:
                if (_acknowledge)
                {
                    _stream.WriteByte((byte)'-');
                }

                return true;

            case InputKind.Resend:
                if (_acknowledge && _last.Length > 0)
                {
                    _stream.Write(_last);
                }

                return true;

            default:
                if (_acknowledge)
                {
                    _stream.WriteByte((byte)'+');
                }

                return OnPacket(input.Packet);
        }
    }

    private bool OnPacket(byte[] packet)
    {
        string text = Encoding.Latin1.GetString(packet);
        if (text == "k" || text.StartsWith("vKill;", StringComparison.Ordinal))
        {
            if (text != "k")
            {
                Send("OK");
            }

            _target.Kill();
            return false;
        }

        if (_running)
        {
            // While the machine runs in all-stop mode, only Ctrl-C is valid.
            Send(GdbCommands.Busy);
            return true;
        }

        if (_commands.TryResume(text, out VcpuAction[] actions, out string? error))
        {
            if (error is not null)
            {
                Send(error);
                return true;
            }

            _running = true;
            _commands.Forget();
            _target.Resume(actions);
            return true;
        }

        switch (text)
        {
            case "QStartNoAckMode":
                Send("OK");
                _acknowledge = false;
                _reader.CheckSums = false;
                return true;

            case "D":
            case string detach when detach.StartsWith("D;", StringComparison.Ordinal):
                Send("OK");
                return false;

            default:
                Send(Answer(text));
                return true;
        }
    }

    private string Answer(string packet)
    {
        try
        {
            return _commands.Answer(packet, Say);
        }
        catch (Exception exception) when (exception is not (IOException or ObjectDisposedException))
        {
            // An internal error gives an error reply, and does not end the guest.
            return GdbCommands.Failed;
        }
    }

    // Stops the machine and sends the reason to the debugger; false if the machine has ended.
    private bool Stop()
    {
        if (_target.Stop() is not { } stop)
        {
            return true;
        }

        if (stop.Reason == DebugStopReason.Ended)
        {
            if (_running)
            {
                Send($"W{stop.ExitCode & 0xFF:x2}");
            }

            return false;
        }

        _running = false;
        if (stop.Reason == DebugStopReason.Shutdown)
        {
            Say($"vCPU {stop.Vcpu}: triple fault\n");
        }

        _commands.OnStopped(stop);
        Send(_commands.StopReply());
        return true;
    }

    /// <summary>Sends text for the debugger's user, outside answers.</summary>
    private void Say(string text)
    {
        const int Piece = 1024;
        for (int start = 0; start < text.Length; start += Piece)
        {
            Send("O" + HexText.FromText(text.Substring(start, Math.Min(Piece, text.Length - start))));
        }
    }

    private void Send(string reply)
    {
        _last = PacketFraming.Frame(reply);
        _stream.Write(_last);
    }
}
