using Yadokari.Devices.Timers;

namespace Yadokari.Devices.Tests;

/// <summary>Intel 8254 data sheet. One clock pulse is 838 ns.</summary>
public sealed class Pit8254Tests
{
    private readonly ManualClock _clock = new();
    private readonly Probe _irq = new();
    private readonly Pit8254 _pit;
    private long _ticks;

    public Pit8254Tests() => _pit = new Pit8254(_clock, _irq);

    private bool Out2 => (_pit.SystemControl.In() & 0x20) != 0;

    private void Program(int counter, int mode, int count, bool bcd = false)
    {
        _pit.Counters.Out(3, (byte)((counter << 6) | 0x30 | (mode << 1) | (bcd ? 1 : 0)));
        _pit.Counters.Out((ulong)counter, (byte)count);
        _pit.Counters.Out((ulong)counter, (byte)(count >> 8));
    }

    private void Pulses(long pulses)
    {
        _ticks += pulses;
        _clock.Advance(((_ticks * 1_000_000_000L) + Pit8254.Hz - 1) / Pit8254.Hz - _clock.Now);
    }

    private int Latched(int counter)
    {
        _pit.Counters.Out(3, (byte)(counter << 6));
        return _pit.Counters.In((ulong)counter) | (_pit.Counters.In((ulong)counter) << 8);
    }

    [Fact]
    public void Mode_0_interrupts_once_after_n_plus_1_pulses()
    {
        Program(0, 0, 1000);
        Assert.False(_irq.Level);
        Pulses(1000);
        Assert.False(_irq.Level);
        Pulses(1);
        Assert.True(_irq.Level);
        Pulses(200_000);
        Assert.Equal(1, _irq.Rises);
    }

    [Fact]
    public void Mode_2_interrupts_at_the_rate_linux_asks_for()
    {
        Program(0, 2, 4772); // 250 Hz
        int before = _irq.Rises;
        Pulses(1 + (4772 * 250));
        Assert.Equal(before + 250, _irq.Rises);
        _pit.Counters.Out(3, 0x30); // Linux shuts the timer down this way.
        Assert.False(_irq.Level);
        Assert.Equal(0, _clock.Armed);
    }

    [Fact]
    public void Mode_2_takes_a_new_count_at_the_end_of_the_period()
    {
        Program(0, 2, 1000);
        int before = _irq.Rises;
        Pulses(500);
        _pit.Counters.Out(0, 0xD0); // 2000
        _pit.Counters.Out(0, 0x07);
        Pulses(501);
        Assert.Equal(before + 1, _irq.Rises);
        Pulses(1999);
        Assert.Equal(before + 1, _irq.Rises);
        Pulses(1);
        Assert.Equal(before + 2, _irq.Rises);
    }

    [Fact]
    public void Mode_3_counts_down_by_two_and_is_high_for_half()
    {
        _pit.SystemControl.Out(0, 1);
        Program(2, 3, 100);
        Pulses(1);
        Assert.Equal(100, Latched(2));
        Pulses(10);
        Assert.Equal(80, Latched(2));
        Assert.True(Out2);
        Pulses(40);
        Assert.False(Out2);
        Pulses(50);
        Assert.True(Out2);
    }

    [Fact]
    public void Mode_4_strobes_once()
    {
        Program(0, 4, 500);
        Assert.True(_irq.Level);
        int before = _irq.Rises;
        Pulses(501);
        Assert.Equal(before, _irq.Rises);
        Pulses(1);
        Assert.Equal(before + 1, _irq.Rises);
        Pulses(200_000);
        Assert.Equal(before + 1, _irq.Rises);
    }

    [Fact]
    public void Mode_1_fires_on_the_gate_and_again()
    {
        Program(2, 1, 100);
        Assert.True(Out2);
        _pit.SystemControl.Out(0, 1);
        Pulses(1);
        Assert.False(Out2);
        Pulses(50);
        _pit.SystemControl.Out(0, 0);
        _pit.SystemControl.Out(0, 1);
        Pulses(100);
        Assert.False(Out2);
        Pulses(1);
        Assert.True(Out2);
    }

    [Fact]
    public void Mode_5_strobes_after_the_gate()
    {
        Program(2, 5, 100);
        _pit.SystemControl.Out(0, 1);
        Pulses(100);
        Assert.True(Out2);
        Pulses(1);
        Assert.False(Out2);
        Pulses(1);
        Assert.True(Out2);
    }

    [Fact]
    public void The_gate_holds_mode_0()
    {
        _pit.SystemControl.Out(0, 1);
        Program(2, 0, 1000);
        Pulses(401);
        _pit.SystemControl.Out(0, 0);
        Pulses(5000);
        Assert.Equal(600, Latched(2));
        _pit.SystemControl.Out(0, 1);
        Pulses(599);
        Assert.False(Out2);
        Pulses(1);
        Assert.True(Out2);
    }

    [Fact]
    public void Linux_measures_the_tsc_by_counter_2()
    {
        // pit_calibrate_tsc: mode 0, 50 ms; then quick_pit_calibrate's bytes without a latch.
        _pit.SystemControl.Out(0, (byte)((_pit.SystemControl.In() & ~2) | 1));
        Program(2, 0, 59_659);
        int polls = 0;
        while (!Out2)
        {
            _clock.Advance(1_000_000);
            polls++;
        }

        Assert.Equal(51, polls);
        Program(2, 0, 0xFFFF);
        _clock.Advance(1_000);
        _pit.Counters.In(2);
        Assert.Equal(0xFF, _pit.Counters.In(2));
        _clock.Advance(300_000);
        _pit.Counters.In(2);
        Assert.Equal(0xFE, _pit.Counters.In(2));
    }

    [Fact]
    public void Bcd_counts_in_decimal()
    {
        _pit.SystemControl.Out(0, 1);
        Program(2, 0, 0x1000, bcd: true);
        Pulses(2);
        Assert.Equal(0x0999, Latched(2));
    }

    [Fact]
    public void Read_back_latches_status_then_count_until_read()
    {
        Program(0, 2, 0x1234);
        _pit.Counters.Out(3, 0xC2);
        Pulses(100);
        Assert.Equal(0x80 | 0x40 | 0x34, _pit.Counters.In(0)); // OUT high, null count, both bytes, mode 2.
        Assert.Equal(0x34, _pit.Counters.In(0));
        Assert.Equal(0x12, _pit.Counters.In(0));
        Assert.NotEqual(0x34, _pit.Counters.In(0));
    }

    [Fact]
    public void Ticks_that_come_while_one_waits_follow_when_it_was_taken()
    {
        _irq.IsUnmasked = true;
        Program(0, 2, 1000);
        int before = _irq.Rises;
        Pulses(1001);
        Assert.Equal(before + 1, _irq.Rises);
        _irq.IsPending = true;
        Pulses(3000);
        _pit.CatchUp(); // Another interrupt was taken.
        Assert.Equal(before + 1, _irq.Rises);
        for (int i = 0; i < 3; i++)
        {
            _irq.IsPending = false;
            _pit.CatchUp();
            Assert.Equal(before + 2 + i, _irq.Rises);
        }

        _pit.CatchUp();
        Assert.Equal(before + 4, _irq.Rises);
        Pulses(1000);
        Assert.Equal(before + 5, _irq.Rises);
    }

    [Fact]
    public void Ticks_owed_are_bounded_and_forgotten_when_the_timer_is_programmed()
    {
        _irq.IsUnmasked = true;
        _irq.IsPending = true;
        Program(0, 2, 1000);
        Pulses(100_001);
        _irq.IsPending = false;
        int before = _irq.Rises;
        for (int i = 0; i < 100; i++)
        {
            _pit.CatchUp();
        }

        Assert.Equal(before + Pit8254.MaxReinjectedTicks, _irq.Rises);
        _irq.IsPending = true;
        Pulses(5_000);
        Program(0, 2, 1000);
        _irq.IsPending = false;
        before = _irq.Rises;
        _pit.CatchUp();
        Assert.Equal(before, _irq.Rises);
    }

    [Fact]
    public void Nothing_is_owed_to_a_guest_that_masks_the_line()
    {
        _irq.IsPending = true;
        Program(0, 2, 1000);
        int before = _irq.Rises;
        Pulses(10_001);
        Assert.Equal(before + 10, _irq.Rises);
        _irq.IsPending = false;
        _irq.IsUnmasked = true;
        _pit.CatchUp();
        Assert.Equal(before + 10, _irq.Rises);
    }

    [Fact]
    public void Too_fast_a_rate_does_not_keep_the_host_busy()
    {
        Program(0, 2, 2);
        _clock.AdvanceSeconds(0.01);
        Assert.InRange(_clock.Fired, 1, 201);
    }
}
