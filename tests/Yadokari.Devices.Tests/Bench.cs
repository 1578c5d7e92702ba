using System.Text;
using Yadokari.Core.Buses;
using Yadokari.Core.Time;
using Yadokari.Devices.Serial;
using Yadokari.Devices.Timers;

namespace Yadokari.Devices.Tests;

/// <summary>A clock that stands still until it is told to go on, and then fires alarms in order.</summary>
internal sealed class ManualClock : IClock
{
    private readonly List<Alarm> _alarms = [];

    public long Now { get; private set; }

    public DateTime Epoch { get; set; } = new(2024, 2, 28, 23, 59, 58, DateTimeKind.Utc);

    public DateTime UtcNow => Epoch.AddTicks(Now / 100);

    /// <summary>How many alarms are armed: what would wake the host.</summary>
    public int Armed => _alarms.Count(a => a.Deadline is not null);

    public int Fired { get; private set; }

    public IAlarm CreateAlarm(Action fire)
    {
        var alarm = new Alarm(fire);
        _alarms.Add(alarm);
        return alarm;
    }

    public void Advance(long nanoseconds)
    {
        long end = Now + nanoseconds;
        while (_alarms.Where(a => a.Deadline <= end).MinBy(a => a.Deadline) is { } due)
        {
            Now = Math.Max(Now, due.Deadline!.Value);
            due.Deadline = null;
            Fired++;
            due.Fire();
        }

        Now = end;
    }

    public void AdvanceSeconds(double seconds) => Advance((long)(seconds * 1e9));

    private sealed class Alarm(Action fire) : IAlarm
    {
        public long? Deadline { get; set; }

        public Action Fire { get; } = fire;

        public void Arm(long deadline) => Deadline = deadline;

        public void Cancel() => Deadline = null;

        public void Dispose() => Deadline = null;
    }
}

/// <summary>The far end of a line: its level, and how often it rose.</summary>
internal sealed class Probe : ITickLine
{
    public bool Level { get; private set; }

    public int Rises { get; private set; }

    public bool IsUnmasked { get; set; }

    public bool IsPending { get; set; }

    public void Set(bool asserted)
    {
        Rises += asserted && !Level ? 1 : 0;
        Level = asserted;
    }
}

/// <summary>Keeps what a guest put out.</summary>
internal sealed class Paper : IConsole
{
    private readonly StringBuilder _text = new();

    public string Text => _text.ToString();

    public bool HasRoom { get; set; } = true;

    public void Write(ReadOnlySpan<byte> bytes) => _text.Append(Encoding.Latin1.GetString(bytes));
}

internal static class BusAccess
{
    public static byte In(this IBusDevice device, ulong offset = 0)
    {
        Span<byte> data = [0xFF];
        device.Read(offset, data);
        return data[0];
    }

    public static void Out(this IBusDevice device, ulong offset, byte value) => device.Write(offset, [value]);

    public static uint In32(this IBusDevice device, ulong offset)
    {
        Span<byte> data = [0xFF, 0xFF, 0xFF, 0xFF];
        device.Read(offset, data);
        return BitConverter.ToUInt32(data);
    }

    public static void Out32(this IBusDevice device, ulong offset, uint value) => device.Write(offset, BitConverter.GetBytes(value));
}
