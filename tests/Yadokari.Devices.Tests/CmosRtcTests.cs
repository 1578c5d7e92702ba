using Yadokari.Devices.Rtc;

namespace Yadokari.Devices.Tests;

/// <summary>MC146818A data sheet.</summary>
public sealed class CmosRtcTests
{
    private readonly ManualClock _clock = new();
    private readonly Probe _irq = new();
    private readonly CmosRtc _rtc;

    public CmosRtcTests() => _rtc = new CmosRtc(_clock, _irq);

    private byte Get(byte register)
    {
        _rtc.Out(0, register);
        return _rtc.In(1);
    }

    private void Put(byte register, byte value)
    {
        _rtc.Out(0, register);
        _rtc.Out(1, value);
    }

    private string Time() => $"{Get(0x32):x2}{Get(9):x2}-{Get(8):x2}-{Get(7):x2} {Get(4):x2}:{Get(2):x2}:{Get(0):x2}";

    [Fact]
    public void Shows_utc_in_bcd_through_a_leap_day()
    {
        Assert.Equal("2024-02-28 23:59:58", Time());
        Assert.Equal(4, Get(6)); // Wednesday, of 1 for Sunday.
        _clock.AdvanceSeconds(2);
        Assert.Equal("2024-02-29 00:00:00", Time());
        Assert.Equal(0x80, Get(0x0D));
    }

    [Fact]
    public void Binary_and_twelve_hours()
    {
        Put(0x0B, 0x04);
        Assert.Equal(11 | 0x80, Get(4));
        Assert.Equal(59, Get(2));
        Put(0x0B, 0x00);
        Assert.Equal(0x11 | 0x80, Get(4));
        _clock.AdvanceSeconds(2);
        Assert.Equal(0x12, Get(4));
    }

    [Fact]
    public void Set_as_linux_does_and_goes_on_half_a_second_later()
    {
        Put(0x0B, 0x82);
        Put(0x0A, 0x76);
        foreach ((byte register, byte value) in new (byte, byte)[] { (9, 0x99), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x59), (0x32, 0x19) })
        {
            Put(register, value);
        }

        _clock.AdvanceSeconds(5);
        Assert.Equal("1999-12-31 23:59:59", Time());
        Put(0x0B, 0x02);
        Put(0x0A, 0x26);
        _clock.AdvanceSeconds(0.49);
        Assert.Equal("1999-12-31 23:59:59", Time());
        _clock.AdvanceSeconds(0.02);
        Assert.Equal("2000-01-01 00:00:00", Time());
    }

    [Fact]
    public void A_field_may_be_set_while_it_runs()
    {
        Put(2, 0x30);
        Assert.Equal("2024-02-28 23:30:58", Time());
    }

    [Fact]
    public void Update_in_progress_shows_just_before_the_second()
    {
        _clock.AdvanceSeconds(0.999);
        Assert.Equal(0x26, Get(0x0A));
        _clock.Advance(800_000);
        Assert.Equal(0xA6, Get(0x0A));
        _clock.Advance(200_000);
        Assert.Equal(0x26, Get(0x0A));
    }

    [Fact]
    public void Update_interrupt_comes_each_second_until_register_c_is_read()
    {
        Put(0x0B, 0x12);
        _clock.AdvanceSeconds(3);
        Assert.Equal(1, _irq.Rises);
        Assert.Equal(0x90, Get(0x0C) & 0x90);
        Assert.False(_irq.Level);
        Assert.Equal(0, Get(0x0C) & 0x10);
        _clock.AdvanceSeconds(1);
        Assert.Equal(2, _irq.Rises);
    }

    [Fact]
    public void Alarm_matches_hours_minutes_and_seconds()
    {
        Put(1, 0x05);
        Put(3, 0x00);
        Put(5, 0x00);
        Put(0x0B, 0x22);
        _clock.AdvanceSeconds(6.9);
        Assert.False(_irq.Level);
        _clock.AdvanceSeconds(0.2);
        Assert.True(_irq.Level);
        Assert.Equal(0xA0, Get(0x0C) & 0xA0);
        _clock.AdvanceSeconds(86_400 - 1);
        Assert.False(_irq.Level);
        _clock.AdvanceSeconds(2);
        Assert.True(_irq.Level);
    }

    [Fact]
    public void Alarm_bytes_from_c0_match_anything()
    {
        Put(1, 0x10);
        Put(3, 0xFF);
        Put(5, 0xC0);
        Put(0x0B, 0x22);
        for (int i = 1; i <= 3; i++)
        {
            _clock.AdvanceSeconds(60);
            Assert.Equal(i, _irq.Rises);
            Get(0x0C);
        }
    }

    [Fact]
    public void Periodic_interrupt_keeps_its_rate()
    {
        Put(0x0A, 0x26); // 1024 Hz
        Put(0x0B, 0x42);
        int seen = 0;
        for (int i = 0; i < 1024; i++)
        {
            _clock.Advance(976_563);
            seen += (Get(0x0C) & 0xC0) == 0xC0 ? 1 : 0;
        }

        Assert.Equal(1024, seen);
        Assert.Equal(1024, _irq.Rises);
    }

    [Fact]
    public void Flags_are_set_without_interrupts_and_without_waking_the_host()
    {
        Assert.Equal(0, _clock.Armed);
        Get(0x0C);
        _clock.AdvanceSeconds(1);
        Assert.Equal(0x50, Get(0x0C));
        Assert.Equal(0, _clock.Fired);
        Assert.False(_irq.Level);
    }

    [Fact]
    public void Memory_is_kept()
    {
        _rtc[0x34] = 0x12;
        Assert.Equal(0x12, Get(0x34));
        Put(0x7F, 0x99);
        _rtc.Reset();
        Assert.Equal(0x99, _rtc[0x7F]);
        Assert.Throws<ArgumentOutOfRangeException>(() => _rtc[0x0D]);
    }
}
