using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Yadokari.Devices.Virtio;
using Yadokari.Host.Control;

namespace Yadokari.Host.Tests;

/// <summary>A monitor without a machine, which notes what it is asked for.</summary>
internal sealed class ScriptedMonitor : IMonitor
{
    private readonly List<string> _done = []; // Guarded by itself.
    private readonly StringBuilder _typed = new(); // Guarded by _done, as is _room.
    private int _room = int.MaxValue;

    /// <summary>What it was built with.</summary>
    public static MachineDescription Description { get; } = new("box", 2, 1 << 29, DateTimeOffset.UnixEpoch);

    /// <summary>How many keys there is room for, counted from the first.</summary>
    public int Room
    {
        set
        {
            lock (_done)
            {
                _room = value;
            }
        }
    }

    /// <summary>What it was asked for.</summary>
    public string[] Done
    {
        get
        {
            lock (_done)
            {
                return [.. _done];
            }
        }
    }

    /// <summary>What was typed.</summary>
    public string Typed
    {
        get
        {
            lock (_done)
            {
                return _typed.ToString();
            }
        }
    }

    /// <summary>Whether the machine is gone.</summary>
    public bool IsGone { get; set; }

    public RunEvents Events { get; } = new();

    public ILogger Log => NullLogger.Instance;

    public IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics => [("pio", "com\"1\" reads", 3, ""), ("pio", "com\"1\" reads", 4, ""), ("vcpu0", "  halted", 1.5, "ms")];

    public bool IsPaused { get; private set; }

    public bool SetPaused(bool paused)
    {
        if (IsGone)
        {
            return false;
        }

        Note(paused ? "pause" : "resume");
        IsPaused = paused;
        return true;
    }

    public void PressPower() => Note("power");

    public void End(int code) => Note($"end {code}");

    public int Type(ReadOnlySpan<byte> keys)
    {
        lock (_done)
        {
            int taken = Math.Min(keys.Length, _room - _typed.Length);
            _typed.Append(Encoding.ASCII.GetString(keys[..taken]));
            return taken;
        }
    }

    public void Resize(int rows, int columns) => Note($"size {rows} {columns}");

    // Half of the memory is in the balloon.
    public TResult? Use<T, TResult>(Func<T, TResult> call)
        where T : class
        where TResult : struct
    {
        if (IsGone)
        {
            return null;
        }

        var balloon = new VirtioBalloon();
        balloon.WriteConfig(4, [0, 0, 1, 0]);
        TResult result = call((T)(object)balloon);
        if (balloon.Target != 0)
        {
            Note($"balloon {(long)Description.Memory - balloon.Target}");
        }

        return result;
    }

    public void Fail(Exception error) => Note($"fail {error.Message}");

    private void Note(string what)
    {
        lock (_done)
        {
            _done.Add(what);
        }
    }
}
