using System.Text;
using Yadokari.Debugging.Dump;

namespace Yadokari.Debugging.Gdb;

/// <summary>
/// Answers one debugger's packets about a stopped machine (GDB manual, appendix E). A vCPU is a thread, whose number is the vCPU's index plus one. An
/// empty answer means "not supported". On the session's thread.
/// </summary>
internal sealed class GdbCommands
{
    /// <summary>Maximum packet size, which is announced to the debugger.</summary>
    public const int PacketSize = 0x4000;

    /// <summary>Error answer: the machine runs.</summary>
    public const string Busy = "E10";

    /// <summary>Error answer: internal error.</summary>
    public const string Failed = "E05";

    private const string Ok = "OK";
    private const string Unsupported = "";
    private const string Malformed = "E16";
    private const string NoSuchThread = "E03";
    private const string Fault = "E0e";
    private const string NoRoom = "E1c";

    private const int SignalInterrupt = 2;
    private const int SignalTrap = 5;
    private const int SignalAbort = 6;

    private readonly DebugTarget _target;
    private readonly VcpuView[] _vcpus;
    private readonly BreakpointSet _breakpoints;
    private int _general;
    private int _step;
    private int _signal = SignalTrap;
    private bool _stoppedInGuest;
    private bool _attached;
    private bool _reportsSoftware;
    private bool _reportsHardware;

    /// <summary>Begins without breakpoints, with the first vCPU selected.</summary>
    public GdbCommands(DebugTarget target)
    {
        _target = target;
        _breakpoints = new BreakpointSet(target);
        _vcpus = [.. Enumerable.Range(0, target.VcpuCount).Select(i => new VcpuView(target, i))];
    }

    /// <summary>Must be called when the machine has stopped: the reason becomes the answer to '?'.</summary>
    public void OnStopped(DebugStop stop)
    {
        if (stop.Reason != DebugStopReason.Requested)
        {
            _general = stop.Vcpu;
        }

        _step = _general;
        _stoppedInGuest = stop.Reason == DebugStopReason.Debug;
        _signal = stop.Reason switch
        {
            DebugStopReason.Shutdown => SignalAbort,
            DebugStopReason.Requested when _attached => SignalInterrupt,
            _ => SignalTrap,
        };
        _attached = true;
    }

    /// <summary>Must be called when the machine resumes: drops the saved registers.</summary>
    public void Forget()
    {
        foreach (VcpuView vcpu in _vcpus)
        {
            vcpu.Forget();
        }
    }

    /// <summary>The stop reply packet: the vCPU that stopped, and the reason.</summary>
    public string StopReply()
    {
        string reply = $"T{_signal:x2}thread:{_general + 1:x};";
        if (_stoppedInGuest)
        {
            VcpuView vcpu = _vcpus[_general];
            ulong address = StateDump.LinearAddress(vcpu.State, 1, vcpu.State.Rip);
            if (_reportsSoftware && _breakpoints.Contains(false, address))
            {
                reply += "swbreak:;";
            }
            else if (_reportsHardware && _breakpoints.Contains(true, address))
            {
                reply += "hwbreak:;";
            }
        }

        return reply;
    }

    /// <summary>
    /// Parses packets that resume the machine. Returns the actions of the vCPUs, or an error answer; false for other packets.
    /// </summary>
    public bool TryResume(string packet, out VcpuAction[] actions, out string? error)
    {
        actions = new VcpuAction[_vcpus.Length];
        error = null;
        if (packet.StartsWith("vCont;", StringComparison.Ordinal))
        {
            error = TryActions(packet[6..], actions) ? null : Malformed;
            return true;
        }

        if (packet.Length == 0 || packet[0] is not ('c' or 'C' or 's' or 'S'))
        {
            return false;
        }

        bool step = packet[0] is 's' or 'S';
        string address = packet[0] is 'c' or 's' ? packet[1..] : packet.IndexOf(';') is >= 0 and int at ? packet[(at + 1)..] : "";
        if (address.Length > 0)
        {
            if (!HexText.TryNumber(address, out ulong rip))
            {
                error = Malformed;
                return true;
            }

            _vcpus[_step].Jump(rip);
        }

        Array.Fill(actions, step ? VcpuAction.Stay : VcpuAction.Run);
        if (step)
        {
            actions[_step] = VcpuAction.Step;
        }

        return true;
    }

    /// <summary>Answers any other packet. <paramref name="say"/> shows text to the debugger's user before the answer.</summary>
    public string Answer(string packet, Action<string> say)
    {
        if (packet.Length == 0)
        {
            return Unsupported;
        }

        string rest = packet[1..];
        switch (packet[0])
        {
            case '?':
                return StopReply();
            case 'g':
                return _vcpus[_general].ReadAll();
            case 'G':
                return HexText.TryBytes(rest, out byte[] all) && _vcpus[_general].WriteAll(all) ? Ok : Malformed;
            case 'p':
                return HexText.TryNumber(rest, out ulong number) ? _vcpus[_general].Read(number) ?? Malformed : Malformed;
            case 'P':
                return WriteRegister(rest);
            case 'm':
                return ReadMemory(rest);
            case 'M' or 'X':
                return WriteMemory(rest, packet[0] == 'X');
            case 'Z' or 'z':
                return ChangeBreakpoint(rest, packet[0] == 'Z');
            case 'H':
                return SelectThread(rest);
            case 'T':
                return TryThread(rest, out int thread) && thread >= 0 ? Ok : NoSuchThread;
            case 'q' or 'Q':
                return Query(packet, say);
            case 'v':
                return packet == "vCont?" ? "vCont;c;C;s;S" : Unsupported;
            default:
                return Unsupported;
        }
    }

    private static bool Split(string text, char separator, out string left, out string right)
    {
        int at = text.IndexOf(separator);
        left = at < 0 ? text : text[..at];
        right = at < 0 ? "" : text[(at + 1)..];
        return at >= 0;
    }

    private string WriteRegister(string text) =>
        Split(text, '=', out string number, out string value) && HexText.TryNumber(number, out ulong register)
        && HexText.TryBytes(value, out byte[] bytes) && _vcpus[_general].Write(register, bytes)
            ? Ok
            : Malformed;

    private string ReadMemory(string text)
    {
        if (!Split(text, ',', out string start, out string size) || !HexText.TryNumber(start, out ulong address)
            || !HexText.TryNumber(size, out ulong length))
        {
            return Malformed;
        }

        byte[] data = _vcpus[_general].ReadMemory(address, (int)Math.Min(length, PacketSize / 2));
        return data.Length == 0 && length > 0 ? Fault : HexText.FromBytes(data);
    }

    private string WriteMemory(string text, bool binary)
    {
        if (!Split(text, ':', out string range, out string content) || !Split(range, ',', out string start, out string size)
            || !HexText.TryNumber(start, out ulong address) || !HexText.TryNumber(size, out ulong length))
        {
            return Malformed;
        }

        byte[] data;
        if (binary)
        {
            data = Encoding.Latin1.GetBytes(content);
        }
        else if (!HexText.TryBytes(content, out data))
        {
            return Malformed;
        }

        if ((ulong)data.Length != length)
        {
            return Malformed;
        }

        // A debugger probes with an empty write whether 'X' is supported.
        return data.Length == 0 || _vcpus[_general].Vcpu.WriteLinear(address, data) ? Ok : Fault;
    }

    private string ChangeBreakpoint(string text, bool insert)
    {
        // "type,address,kind", and possibly ";conditions", which are not supported.
        if (!Split(text, ',', out string type, out string place) || !HexText.TryNumber(type, out ulong kind))
        {
            return Malformed;
        }

        if (kind > 1)
        {
            // Watchpoints: the debugger single-steps for them instead.
            return Unsupported;
        }

        Split(place, ',', out string at, out _);
        if (!HexText.TryNumber(at, out ulong address))
        {
            return Malformed;
        }

        if (insert)
        {
            return _breakpoints.Insert(kind == 1, address) ? Ok : NoRoom;
        }

        _breakpoints.Remove(kind == 1, address);
        return Ok;
    }

    private string SelectThread(string text)
    {
        if (text.Length == 0 || text[0] is not ('g' or 'c') || !TryThread(text[1..], out int thread))
        {
            return NoSuchThread;
        }

        if (thread >= 0)
        {
            if (text[0] == 'g')
            {
                _general = thread;
            }
            else
            {
                _step = thread;
            }
        }

        return Ok;
    }

    /// <summary>Parses a thread's number; -1 stands for any ("0") or all ("-1").</summary>
    private bool TryThread(string text, out int thread)
    {
        thread = -1;
        if (text is "0" or "-1")
        {
            return true;
        }

        if (!HexText.TryNumber(text, out ulong number) || number > (ulong)_vcpus.Length)
        {
            return false;
        }

        thread = (int)number - 1;
        return true;
    }

    /// <summary>Parses the actions of a vCont packet. For each thread, the first action that matches it applies.</summary>
    private bool TryActions(string text, VcpuAction[] actions)
    {
        bool[] decided = new bool[actions.Length];
        foreach (string item in text.Split(';'))
        {
            Split(item, ':', out string what, out string id);
            int thread = -1;
            if (what.Length == 0 || what[0] is not ('c' or 'C' or 's' or 'S') || (id.Length > 0 && !TryThread(id, out thread)))
            {
                return false;
            }

            for (int i = 0; i < actions.Length; i++)
            {
                if (!decided[i] && (thread < 0 || thread == i))
                {
                    decided[i] = true;
                    actions[i] = what[0] is 's' or 'S' ? VcpuAction.Step : VcpuAction.Run;
                }
            }
        }

        return decided.Contains(true);
    }

    private string Query(string packet, Action<string> say)
    {
        // Most queries end their name with ':', some with ','.
        int end = packet.AsSpan().IndexOfAny(':', ',');
        string name = end < 0 ? packet : packet[..end];
        string rest = end < 0 ? "" : packet[(end + 1)..];
        switch (name)
        {
            case "qSupported":
                string[] features = rest.Split(';');
                _reportsSoftware = features.Contains("swbreak+");
                _reportsHardware = features.Contains("hwbreak+");
                return $"PacketSize={PacketSize:x};QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+";
            case "qXfer":
                return Transfer(rest);
            case "qAttached":
                return "1";
            case "qC":
                return $"QC{_general + 1:x}";
            case "qfThreadInfo":
                return "m" + string.Join(',', Enumerable.Range(1, _vcpus.Length).Select(t => t.ToString("x")));
            case "qsThreadInfo":
                return "l";
            case "qThreadExtraInfo":
                return TryThread(rest, out int thread) && thread >= 0
                    ? HexText.FromText($"vCPU {thread}, {StateDump.DescribeMode(_vcpus[thread].State)}")
                    : NoSuchThread;
            case "qRcmd":
                if (!HexText.TryBytes(rest, out byte[] command))
                {
                    return Malformed;
                }

                say(MonitorCommands.Run(Encoding.UTF8.GetString(command), _target, _vcpus, _general));
                return Ok;
            default:
                return Unsupported;
        }
    }

    /// <summary>A piece of the target description: "features:read:target.xml:offset,length".</summary>
    private static string Transfer(string text)
    {
        if (text.Split(':') is not ["features", "read", string annex, string range])
        {
            return Unsupported;
        }

        if (annex != "target.xml" || !Split(range, ',', out string start, out string size) || !HexText.TryNumber(start, out ulong offset)
            || !HexText.TryNumber(size, out ulong length))
        {
            return "E00";
        }

        string xml = TargetDescription.Xml;
        int from = (int)Math.Min(offset, (ulong)xml.Length);
        int count = (int)Math.Min(Math.Min(length, PacketSize / 2), (ulong)(xml.Length - from));
        return (from + count < xml.Length ? "m" : "l") + xml.Substring(from, count);
    }
}
