using Yadokari.Devices.Keyboard;
using Yadokari.Devices.Power;

namespace Yadokari.Devices.Tests;

public sealed class PowerTests
{
    private readonly ManualClock _clock = new();
    private readonly Probe _irq = new();
    private readonly List<bool> _line20 = [];
    private readonly A20Gate _a20;
    private int _calls;

    public PowerTests() => _a20 = new A20Gate(_line20.Add);

    [Fact]
    public void Address_line_20_is_as_the_last_of_two_ports_has_it()
    {
        var controller = new I8042(_irq, () => _calls++, _a20);
        var port92 = new SystemControlA(() => _calls++, _a20);
        void Keyboard(byte output)
        {
            controller.Command.Out(0, 0xD1);
            controller.Data.Out(0, output);
        }

        port92.Out(0, 0x00);
        Assert.Equal([false], _line20); // Though the keyboard controller has it open, as after a reset.
        port92.Out(0, 0x02);
        Keyboard(0xDF);
        Assert.Equal([false, true], _line20);
        Keyboard(0xDD);
        Assert.Equal([false, true, false], _line20);
        controller.Reset();
        port92.Reset();
        Assert.Equal([false, true, false, true], _line20);
        Assert.Equal(0, _calls);
    }

    [Fact]
    public void I8042_resets_the_machine()
    {
        var controller = new I8042(_irq, () => _calls++, _a20);
        controller.Command.Out(0, 0xFE);
        Assert.Equal(1, _calls);
        controller.Command.Out(0, 0xD1);
        controller.Data.Out(0, 0xDE);
        Assert.Equal(2, _calls);
        controller.Command.Out(0, 0xFF);
        Assert.Equal(2, _calls);
    }

    [Fact]
    public void I8042_answers_linux_at_once_that_nothing_is_there()
    {
        var controller = new I8042(_irq, () => _calls++, _a20);
        byte Ask(byte command, byte? parameter = null)
        {
            Assert.Equal(0, controller.Command.In() & 0x02);
            controller.Command.Out(0, command);
            if (parameter is { } value)
            {
                controller.Data.Out(0, value);
            }

            Assert.Equal(0x01, controller.Command.In() & 0x21);
            return controller.Data.In();
        }

        Assert.Equal(0, controller.Command.In() & 0x01);
        Assert.Equal(0x55, Ask(0xAA));
        Assert.Equal(0x65, Ask(0x20));
        controller.Command.Out(0, 0x60);
        controller.Data.Out(0, 0x74);
        Assert.Equal(0x74, Ask(0x20));
        Assert.NotEqual(0x5A, Ask(0xD3, 0x5A));
        Assert.Equal(0x01, Ask(0xA9)); // Neither 0, 0xFA nor 0xFF: Linux gives up the auxiliary port.
        Assert.Equal(0x00, Ask(0xAB));
        controller.Command.Out(0, 0x60);
        controller.Data.Out(0, 0x65);
        controller.Data.Out(0, 0xF2);
        Assert.True(_irq.Level);
        Assert.Equal(0x41, controller.Command.In() & 0x41);
        Assert.Equal(0xFE, controller.Data.In());
        Assert.False(_irq.Level);
        Assert.Equal(0, _calls);
    }

    [Fact]
    public void Ports_92_and_cf9_reset_on_a_rising_edge()
    {
        var port92 = new SystemControlA(() => _calls++, _a20);
        Assert.Equal(0x00, port92.In());
        port92.Out(0, 0x02);
        Assert.Equal(0, _calls);
        port92.Out(0, 0x03);
        port92.Out(0, 0x03);
        Assert.Equal(1, _calls);
        var cf9 = new ResetControl(() => _calls++);
        cf9.Out(0, 0x02);
        Assert.Equal(1, _calls);
        cf9.Out(0, ResetControl.FullReset);
        Assert.Equal(2, _calls);
    }

    [Theory]
    [InlineData(true, 0xFFFF_FFFFu)]
    [InlineData(false, 0x00FF_FFFFu)]
    public void Power_management_timer_counts_and_wraps(bool wide, uint mask)
    {
        using var power = new AcpiPowerManagement(_clock, _irq, () => _calls++, wide);
        _clock.AdvanceSeconds(3);
        Assert.Equal(3u * 3_579_545, power.In32(AcpiPowerManagement.TimerOffset));
        _clock.AdvanceSeconds(1997);
        Assert.Equal(unchecked((uint)(2000L * 3_579_545)) & mask, power.In32(AcpiPowerManagement.TimerOffset));
    }

    [Fact]
    public void Power_button_raises_sci_until_its_status_is_cleared()
    {
        using var power = new AcpiPowerManagement(_clock, _irq, () => _calls++);
        power.PressPowerButton();
        Assert.False(_irq.Level);
        power.Write(2, [0x00, 0x01]);
        Assert.True(_irq.Level);
        power.Write(0, [0x00, 0x01]);
        Assert.False(_irq.Level);
    }

    [Fact]
    public void General_purpose_events_raise_sci()
    {
        using var power = new AcpiPowerManagement(_clock, _irq, () => _calls++);
        power.Out32(0x24, 1u << 17);
        power.RaiseEvent(17);
        Assert.True(_irq.Level);
        Assert.Equal(2, power.In(0x22));
        power.Out(0x22, 2);
        Assert.False(_irq.Level);
    }

    [Fact]
    public void Timer_event_comes_when_the_highest_bit_changes_if_it_was_asked_for()
    {
        using var power = new AcpiPowerManagement(_clock, _irq, () => _calls++, wideTimer: false);
        Assert.Equal(0, _clock.Armed);
        power.Out(2, 1);
        _clock.AdvanceSeconds(2.3);
        Assert.False(_irq.Level);
        _clock.AdvanceSeconds(0.1);
        Assert.True(_irq.Level);
        power.Out(0, 1);
        Assert.False(_irq.Level);
    }

    [Fact]
    public void Only_soft_off_with_sleep_enable_powers_off()
    {
        using var power = new AcpiPowerManagement(_clock, _irq, () => _calls++);
        Assert.Equal(1, power.In(4)); // SCI_EN: always in ACPI mode.
        power.Write(4, [0x00, 0x14]);
        power.Write(4, [0x00, 0x24]);
        Assert.Equal(0, _calls);
        power.Write(4, [0x01, 0x34]);
        Assert.Equal(1, _calls);
    }

    [Fact]
    public void Debug_ports()
    {
        var paper = new Paper();
        var console = new DebugConsole(paper);
        console.Out(0, (byte)'!');
        Assert.Equal("!", paper.Text);
        Assert.Equal(0xE9, console.In());
        uint code = 0;
        new DebugExit(value => code = value).Write(0, [0x34, 0x12]);
        Assert.Equal(0x1234u, code);
        var post = new PostCode();
        post.Out(0, 0x42);
        Assert.Equal(0x42, post.Last);
    }
}
