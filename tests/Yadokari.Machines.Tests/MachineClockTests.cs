using Yadokari.Core.Time;

namespace Yadokari.Machines.Tests;

public sealed class MachineClockTests : IDisposable
{
    private readonly ManualClock _source = new();
    private readonly MachineClock _clock;
    private readonly List<long> _fired = [];

    public MachineClockTests() => _clock = new MachineClock(_source);

    public void Dispose() => _clock.Dispose();

    [Fact]
    public void Stands_while_it_is_stopped_and_goes_on_from_there()
    {
        Advance(5);
        _clock.Stop();
        Advance(7);
        Assert.Equal(5, Now);
        _clock.Stop();
        _clock.Start();
        Assert.Equal(5, Now);
        Advance(2);
        _clock.Start();
        Assert.Equal(7, Now);
        Assert.Equal(DateTime.UnixEpoch.AddMilliseconds(14), _clock.UtcNow);
    }

    [Fact]
    public void Alarms_wait_for_a_stopped_clock()
    {
        IAlarm before = Alarm();
        before.Arm(Milliseconds(10));
        Advance(4);
        _clock.Stop();
        IAlarm meanwhile = Alarm();
        meanwhile.Arm(Milliseconds(6));
        Advance(100);
        Assert.Empty(_fired);
        _clock.Start();
        Advance(1);
        Assert.Empty(_fired);
        Advance(1);
        Assert.Equal([6], _fired);
        Advance(4);
        Assert.Equal([6, 10], _fired);
        Advance(1000);
        Assert.Equal(2, _fired.Count);
    }

    [Fact]
    public void An_alarm_that_is_cancelled_while_the_clock_stands_does_not_fire()
    {
        IAlarm alarm = Alarm();
        alarm.Arm(Milliseconds(1));
        _clock.Stop();
        alarm.Cancel();
        _clock.Start();
        Advance(10);
        Assert.Empty(_fired);
    }

    [Fact]
    public async Task Stopping_waits_for_a_receiver_that_is_being_called()
    {
        using var called = new ManualResetEventSlim();
        using var go = new ManualResetEventSlim();
        bool done = false;
        IAlarm alarm = _clock.CreateAlarm(() =>
        {
            called.Set();
            go.Wait();
            Volatile.Write(ref done, true);
        });
        alarm.Arm(Milliseconds(1));
        Task fires = Task.Run(() => Advance(1), TestContext.Current.CancellationToken);
        called.Wait(TestContext.Current.CancellationToken);
        Task<bool> stops = Task.Run(
            () =>
            {
                _clock.Stop();
                return Volatile.Read(ref done);
            },
            TestContext.Current.CancellationToken);
        go.Set();
        Assert.True(await stops);
        await fires;
    }

    [Fact]
    public void Alarms_of_a_disposed_clock_are_disposed_of()
    {
        Alarm().Arm(Milliseconds(1));
        Alarm();
        _clock.Dispose();
        Assert.Equal(0, _source.Alarms);
        Advance(10);
        Assert.Empty(_fired);
    }

    private long Now => _clock.Now / Milliseconds(1);

    private static long Milliseconds(long count) => count * 1_000_000;

    private void Advance(int milliseconds) => _source.Advance(TimeSpan.FromMilliseconds(milliseconds));

    private IAlarm Alarm() => _clock.CreateAlarm(() => _fired.Add(Now));
}
