using Yadokari.Core.Time;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests;

/// <summary>The real clock. Order and counts are asserted, never durations.</summary>
public sealed class HostClockTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    [Fact]
    public void Alarms_fire_in_order_and_not_early()
    {
        using var clock = new HostClock();
        var order = new List<int>();
        bool early = false;
        using var done = new CountdownEvent(3);
        IAlarm[] alarms = new IAlarm[3];
        long start = clock.Now;
        for (int i = 0; i < 3; i++)
        {
            int number = i;
            alarms[i] = clock.CreateAlarm(() =>
            {
                early |= clock.Now < start + ((3 - number) * 20_000_000L);
                order.Add(number);
                done.Signal();
            });
        }

        for (int i = 0; i < 3; i++)
        {
            alarms[i].Arm(start + ((3 - i) * 20_000_000L));
        }

        Assert.True(done.Wait(s_patience, TestContext.Current.CancellationToken));
        Assert.Equal([2, 1, 0], order);
        Assert.False(early);
    }

    [Fact]
    public void After_the_hosts_sleep_what_came_due_meanwhile_fires()
    {
        using var clock = new HostClock();
        using var fired = new ManualResetEventSlim();
        const long hour = 3_600_000_000_000;
        int resumed = 0;
        clock.Resumed += () => resumed += clock.Now >= hour ? 1 : 0;
        using IAlarm alarm = clock.CreateAlarm(fired.Set);
        using IAlarm later = clock.CreateAlarm(() => Assert.Fail("Not due."));
        alarm.Arm(hour);
        later.Arm(2 * hour);
        Assert.True(SpinWait.SpinUntil(() => clock.Sleeping, s_patience));
        clock.AfterSleep(hour);
        Assert.Equal(1, resumed);
        Assert.True(fired.Wait(s_patience, TestContext.Current.CancellationToken));
        Assert.InRange(clock.Now, hour, hour + 60_000_000_000);
    }

    [Fact]
    public void A_deadline_gone_by_fires_on_the_clocks_thread()
    {
        using var clock = new HostClock();
        using var fired = new ManualResetEventSlim();
        Thread? thread = null;
        using IAlarm alarm = clock.CreateAlarm(() =>
        {
            thread = Thread.CurrentThread;
            fired.Set();
        });
        alarm.Arm(long.MinValue);
        Assert.True(fired.Wait(s_patience, TestContext.Current.CancellationToken));
        Assert.NotSame(Thread.CurrentThread, thread);
    }

    [Fact]
    public void Only_an_earlier_deadline_wakes_the_thread()
    {
        using var clock = new HostClock();
        using var fired = new ManualResetEventSlim();
        using IAlarm first = clock.CreateAlarm(fired.Set);
        using IAlarm second = clock.CreateAlarm(() => { });
        const long Hour = 3_600_000_000_000;
        first.Arm(clock.Now + Hour);
        SpinWait.SpinUntil(() => clock.Sleeping, s_patience);
        long wakes = clock.Wakes;
        for (int i = 0; i < 1_000; i++)
        {
            first.Arm(clock.Now + Hour + i);
            second.Arm(clock.Now + (2 * Hour));
            second.Cancel();
        }

        Assert.Equal(wakes, clock.Wakes);
        first.Arm(clock.Now);
        Assert.True(fired.Wait(s_patience, TestContext.Current.CancellationToken));
        Assert.Equal(wakes + 1, clock.Wakes);
    }

    [Fact]
    public void A_cancelled_or_disposed_alarm_stays_silent()
    {
        using var clock = new HostClock();
        int count = 0;
        using var fired = new ManualResetEventSlim();
        IAlarm cancelled = clock.CreateAlarm(() => count++);
        IAlarm disposed = clock.CreateAlarm(() => count++);
        using IAlarm last = clock.CreateAlarm(fired.Set);
        long soon = clock.Now + 30_000_000;
        cancelled.Arm(soon);
        disposed.Arm(soon);
        cancelled.Cancel();
        disposed.Dispose();
        disposed.Arm(soon);
        last.Arm(soon + 1);
        Assert.True(fired.Wait(s_patience, TestContext.Current.CancellationToken));
        Assert.Equal(0, count);
    }

    [Fact]
    public void An_alarm_may_arm_itself_again_and_many_may_be_armed()
    {
        using var clock = new HostClock();
        using var done = new CountdownEvent(100 * 20);
        foreach (int i in Enumerable.Range(0, 100))
        {
            int left = 20;
            IAlarm? alarm = null;
            alarm = clock.CreateAlarm(() =>
            {
                if (--left > 0)
                {
                    alarm!.Arm(clock.Now + (i * 1_000));
                }

                done.Signal();
            });
            alarm.Arm(clock.Now + 1_000);
        }

        Assert.True(done.Wait(s_patience, TestContext.Current.CancellationToken));
    }

    [Fact]
    public void Arming_allocates_nothing()
    {
        using var clock = new HostClock();
        using IAlarm alarm = clock.CreateAlarm(() => { });
        alarm.Arm(clock.Now + 1_000_000_000_000);
        long allocated = 0;
        for (int rounds = 0; rounds < 3; rounds++)
        {
            // The runtime's lock makes an event when two threads first want it at once, which may be in one round, not in three.
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 1_000; i++)
            {
                alarm.Arm(clock.Now + 1_000_000_000_000 - i);
                alarm.Cancel();
            }

            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            if (allocated == 0)
            {
                break;
            }
        }

        Assert.Equal(0, allocated);
    }

    [Fact]
    public void Disposed_it_can_still_be_called()
    {
        var clock = new HostClock();
        int fired = 0;
        IAlarm alarm = clock.CreateAlarm(() => fired++);
        clock.Dispose();
        clock.Dispose();
        alarm.Arm(0);
        alarm.Cancel();
        alarm.Arm(0);
        clock.AfterSleep(1_000_000_000_000);
        Assert.InRange(clock.Now, 0, 1_000_000_000_000);
        alarm.Dispose();
        Assert.Equal(0, fired);
    }

    // What a receiver works with may be given back once its alarm is disposed of.
    [Fact]
    public async Task Disposing_of_an_alarm_waits_for_its_call()
    {
        using var clock = new HostClock();
        using var begun = new ManualResetEventSlim();
        using var disposed = new ManualResetEventSlim();
        bool late = false;
        IAlarm alarm = clock.CreateAlarm(() =>
        {
            begun.Set();
            late = disposed.Wait(300); // In vain, as disposing of it waits for this call.
        });
        alarm.Arm(0);
        Assert.True(begun.Wait(s_patience, TestContext.Current.CancellationToken));
        alarm.Dispose();
        disposed.Set();
        Assert.False(late);

        // From its own call it does not wait for itself.
        var own = new TaskCompletionSource();
        IAlarm? last = null;
        last = clock.CreateAlarm(() =>
        {
            last!.Dispose();
            own.SetResult();
        });
        last.Arm(0);
        await own.Task.WaitAsync(s_patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task Removing_a_handler_waits_for_its_call()
    {
        using var clock = new HostClock();
        using var begun = new ManualResetEventSlim();
        using var removed = new ManualResetEventSlim();
        bool late = false;
        void Resumed()
        {
            begun.Set();
            late = removed.Wait(300);
        }

        clock.Resumed += Resumed;
        Task sleep = Task.Run(() => clock.AfterSleep(1_000_000_000), TestContext.Current.CancellationToken);
        Assert.True(begun.Wait(s_patience, TestContext.Current.CancellationToken));
        clock.Resumed -= Resumed;
        removed.Set();
        await sleep;
        Assert.False(late);
    }

    [Fact]
    public void An_exception_that_nothing_expected_is_told_and_ends_no_process()
    {
        using var clock = new HostClock();
        using var told = new ManualResetEventSlim();
        var fault = new InvalidOperationException("a receiver's");
        Exception? first = null;
        clock.Failed += error =>
        {
            first = error;
            told.Set();
        };
        using IAlarm alarm = clock.CreateAlarm(() => throw fault);
        alarm.Arm(0);
        Assert.True(told.Wait(s_patience, TestContext.Current.CancellationToken));
        Assert.Same(fault, first);
        Exception? later = null;
        clock.Failed += error => later = error;
        Assert.Same(fault, later);
        alarm.Arm(0);
        clock.AfterSleep(1);
    }
}
