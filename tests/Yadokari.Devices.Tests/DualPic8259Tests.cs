using Yadokari.Core.Buses;
using Yadokari.Devices.Interrupts;

namespace Yadokari.Devices.Tests;

/// <summary>Intel 8259A data sheet.</summary>
public sealed class DualPic8259Tests
{
    private readonly Probe _int = new();
    private readonly DualPic8259 _pic;

    public DualPic8259Tests()
    {
        _pic = new DualPic8259(_int);
        Initialize();
    }

    private void Initialize(byte icw4 = 0x01, byte masterMask = 0, byte slaveMask = 0)
    {
        _pic.First.Out(0, 0x11);
        _pic.First.Out(1, 0x30);
        _pic.First.Out(1, 0x04);
        _pic.First.Out(1, icw4);
        _pic.Second.Out(0, 0x11);
        _pic.Second.Out(1, 0x38);
        _pic.Second.Out(1, 0x02);
        _pic.Second.Out(1, icw4);
        _pic.First.Out(1, masterMask);
        _pic.Second.Out(1, slaveMask);
    }

    private void Pulse(int irq)
    {
        _pic.Line(irq).Set(false);
        _pic.Line(irq).Set(true);
    }

    [Fact]
    public void Everything_is_masked_before_it_is_initialised()
    {
        var pic = new DualPic8259(_int);
        pic.Line(3).Set(true);
        Assert.False(pic.HasInterrupt);
    }

    [Fact]
    public void Higher_priorities_come_first_and_nest()
    {
        Pulse(4);
        Pulse(1);
        Assert.True(_int.Level);
        Assert.Equal(0x31, _pic.Acknowledge());
        Assert.False(_pic.HasInterrupt);
        Pulse(0);
        Assert.Equal(0x30, _pic.Acknowledge());
        _pic.First.Out(0, 0x20);
        Assert.False(_pic.HasInterrupt);
        _pic.First.Out(0, 0x20);
        Assert.True(_pic.HasInterrupt);
        Assert.Equal(0x34, _pic.Acknowledge());
    }

    [Fact]
    public void The_second_one_comes_through_input_2()
    {
        Pulse(3);
        Pulse(12);
        Assert.Equal(0x3C, _pic.Acknowledge());
        Assert.False(_pic.HasInterrupt);
        Pulse(8); // Higher within the second, but the first holds its input 2 in service.
        Assert.False(_pic.HasInterrupt);
        _pic.Second.Out(0, 0x20);
        _pic.First.Out(0, 0x20);
        Assert.Equal(0x38, _pic.Acknowledge());
        _pic.Second.Out(0, 0x60);
        _pic.First.Out(0, 0x62);
        Assert.Equal(0x33, _pic.Acknowledge());
    }

    [Fact]
    public void Special_fully_nested_mode_lets_the_second_interrupt_itself()
    {
        Initialize(icw4: 0x11);
        Pulse(12);
        Assert.Equal(0x3C, _pic.Acknowledge());
        Pulse(8);
        Assert.Equal(0x38, _pic.Acknowledge());
    }

    [Fact]
    public void An_edge_interrupts_once_and_a_level_until_it_goes()
    {
        _pic.EdgeLevelControl.Out(0, 0x28); // IRQ 3 and 5; 0 to 2 can't be.
        _pic.EdgeLevelControl.Out(0, 0x2F);
        Assert.Equal(0x28, _pic.EdgeLevelControl.In(0));
        Pulse(4);
        Assert.Equal(0x34, _pic.Acknowledge());
        _pic.First.Out(0, 0x20);
        Assert.False(_pic.HasInterrupt);
        _pic.Line(5).Set(true);
        Assert.Equal(0x35, _pic.Acknowledge());
        _pic.First.Out(0, 0x20);
        Assert.True(_pic.HasInterrupt);
        _pic.Line(5).Set(false);
        Assert.False(_pic.HasInterrupt);
    }

    [Fact]
    public void A_request_that_went_away_is_none()
    {
        foreach (int irq in (ReadOnlySpan<int>)[4, 12])
        {
            Pulse(irq);
            _pic.Line(irq).Set(false);
            Assert.False(_int.Level);
            Assert.Equal(-1, _pic.Acknowledge());
            _pic.First.Out(0, 0x0B);
            Assert.Equal(0, _pic.First.In(0));
        }
    }

    [Fact]
    public void A_processor_that_has_not_heard_yet_that_there_is_no_request_any_more_gets_none()
    {
        // It asks while another thread is still about to tell it of the first request.
        var taken = new List<int>();
        DualPic8259? pic = null;
        pic = new DualPic8259(new Processor(() => taken.AddRange([pic!.Acknowledge(), pic.Acknowledge()])));
        foreach ((ulong port, byte value) in (ReadOnlySpan<(ulong, byte)>)[(0, 0x11), (1, 0x30), (1, 0x04), (1, 0x01), (1, 0x00)])
        {
            pic.First.Out(port, value);
        }

        pic.Line(4).Set(true);
        Assert.Equal([0x34, -1], taken);
    }

    [Fact]
    public void Masks_hide_and_registers_show()
    {
        _pic.First.Out(1, 0xFF);
        Pulse(6);
        Assert.False(_pic.HasInterrupt);
        Assert.Equal(0xFF, _pic.First.In(1));
        _pic.First.Out(0, 0x0A);
        Assert.Equal(0x40, _pic.First.In(0));
        _pic.First.Out(1, 0xBF);
        Assert.Equal(0x36, _pic.Acknowledge());
        Assert.Equal(0x00, _pic.First.In(0));
        _pic.First.Out(0, 0x0B);
        Assert.Equal(0x40, _pic.First.In(0));
    }

    [Fact]
    public void Automatic_end_and_rotation()
    {
        Initialize(icw4: 0x03);
        _pic.First.Out(0, 0x80);
        Pulse(3);
        Pulse(4);
        Assert.Equal(0x33, _pic.Acknowledge());
        Pulse(3);
        Assert.Equal(0x34, _pic.Acknowledge()); // 3 is the lowest now.
        Assert.Equal(0x33, _pic.Acknowledge());
    }

    [Fact]
    public void Priorities_rotate_on_request()
    {
        _pic.First.Out(0, 0xC4); // 4 lowest, so 5 highest.
        Pulse(0);
        Pulse(5);
        Assert.Equal(0x35, _pic.Acknowledge());
        _pic.First.Out(0, 0xA0); // Rotate on non-specific EOI: 5 lowest.
        Pulse(5);
        Assert.Equal(0x30, _pic.Acknowledge());
    }

    [Fact]
    public void Special_mask_mode_lets_lower_ones_through()
    {
        Pulse(1);
        Assert.Equal(0x31, _pic.Acknowledge());
        Pulse(6);
        Assert.False(_pic.HasInterrupt);
        _pic.First.Out(1, 0x02);
        _pic.First.Out(0, 0x68);
        Assert.Equal(0x36, _pic.Acknowledge());
    }

    [Fact]
    public void Poll_acknowledges()
    {
        Pulse(5);
        _pic.First.Out(0, 0x0C);
        Assert.Equal(0x85, _pic.First.In(0));
        Assert.False(_pic.HasInterrupt);
        _pic.First.Out(0, 0x0C);
        Assert.Equal(0x00, _pic.First.In(0));
    }

    [Fact]
    public void Both_controllers_see_an_isa_line()
    {
        var bus = new ApicBus();
        var ioApic = new IoApic(bus, 0);
        using var apic = new LocalApic(0, bus, new ManualClock(), () => 0, 1_000_000_000, () => { });
        apic.EnterVirtualWireMode();
        ioApic.Out32(0, 0x10 + (2 * 2));
        ioApic.Out32(0x10, 0x40);
        new IsaLine(_pic, ioApic, 0).Set(true);
        Assert.Equal(0x30, _pic.Acknowledge());
        Assert.Equal(0x40, apic.Acknowledge());
    }

    private sealed class Processor(Action interrupted) : IInterruptLine
    {
        public void Set(bool asserted)
        {
            if (asserted)
            {
                interrupted();
            }
        }
    }
}
