using System.Text;
using Yadokari.Core.Devices;
using Yadokari.Core.Time;
using Yadokari.Devices.Serial;

namespace Yadokari.Boards.Pc.Panics;

/// <summary>
/// Finds out that a guest's kernel panicked for good: it said so, on the console or through pvpanic, and after that neither powered off nor
/// reset nor went idle. A panicked Linux spins; a running one halts sooner or later, so that one which only prints an old log is left alone.
/// </summary>
internal sealed class PanicWatch : IConsole, IPassiveDevice
{
    /// <summary>What Linux says first of all (kernel/panic.c); the reason follows on the same line.</summary>
    private const string FirstWords = "Kernel panic - not syncing";

    private const int MaxLineLength = 256;
    private const long FirstQuietPeriod = 20_000_000_000; // Nanoseconds.
    private const long LastQuietPeriod = 300_000_000; // Nanoseconds.

    private readonly IConsole _next;
    private readonly IClock _clock;
    private readonly Func<long> _halts;
    private readonly Action _panicked;
    private readonly IAlarm _alarm;
    private readonly Lock _lock = new(); // Guards the line: serial port and virtio console may both write.
    private readonly byte[] _line = new byte[MaxLineLength];
    private int _length;
    private bool _watching;
    private long _haltsThen;
    private volatile string? _message;

    /// <summary>Wires the watch into what the guest's consoles put out.</summary>
    /// <param name="next">Gets all bytes.</param>
    /// <param name="clock">Measures the quiet period.</param>
    /// <param name="halts">How often the guest's vCPUs halted, in all. Any thread.</param>
    /// <param name="panicked">Called when the guest is considered dead. On the clock's thread.</param>
    public PanicWatch(IConsole next, IClock clock, Func<long> halts, Action panicked)
    {
        _next = next;
        _clock = clock;
        _halts = halts;
        _panicked = panicked;
        _alarm = clock.CreateAlarm(LookAgain);
    }

    /// <inheritdoc/>
    public string Name => "panic-watch";

    /// <summary>What the kernel said when it panicked; null if it did not. Any thread.</summary>
    public string? Message => _message;

    /// <inheritdoc/>
    public event Action? Ready
    {
        add => _next.Ready += value;
        remove => _next.Ready -= value;
    }

    /// <inheritdoc/>
    public bool HasRoom => _next.HasRoom;

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        _next.Write(bytes);
        lock (_lock)
        {
            foreach (byte b in bytes)
            {
                if (b == '\n')
                {
                    OnLine();
                    _length = 0;
                }
                else if (_length < MaxLineLength)
                {
                    _line[_length++] = b;
                }
            }
        }
    }

    /// <summary>The guest reported a panic through pvpanic. Any thread.</summary>
    public void Report()
    {
        _message ??= FirstWords;
        Watch(FirstQuietPeriod);
    }

    /// <summary>The guest starts anew.</summary>
    public void Reset()
    {
        _alarm.Cancel();
        _watching = false;
        _length = 0;
        _message = null;
    }

    /// <inheritdoc/>
    public void Dispose() => _alarm.Dispose();

    private void OnLine()
    {
        ReadOnlySpan<byte> line = _line.AsSpan(0, _length);
        int at = line.IndexOf("Kernel panic - not syncing"u8);
        if (at < 0)
        {
            return;
        }

        if (line.IndexOf("---[ end Kernel panic - not syncing"u8) >= 0)
        {
            _message ??= FirstWords;
            Watch(LastQuietPeriod);
        }
        else
        {
            _message = Encoding.ASCII.GetString(line[at..].TrimEnd("\r"u8));
            Watch(FirstQuietPeriod);
        }
    }

    private void Watch(long quietPeriod)
    {
        _haltsThen = _halts();
        _watching = true;
        _alarm.Arm(_clock.Now + quietPeriod);
    }

    private void LookAgain()
    {
        if (!_watching)
        {
            return;
        }

        _watching = false;
        if (_halts() == _haltsThen)
        {
            _panicked();
        }
        else
        {
            // The guest has halted, so it is alive: the text was no panic message.
            _message = null;
        }
    }
}
