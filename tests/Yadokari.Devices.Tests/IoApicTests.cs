using Yadokari.Devices.Interrupts;

namespace Yadokari.Devices.Tests;

/// <summary>Intel 82093AA data sheet.</summary>
public sealed class IoApicTests : IDisposable
{
    private readonly ApicBus _bus = new();
    private readonly IoApic _ioApic;
    private readonly LocalApic _apic;

    public IoApicTests()
    {
        _ioApic = new IoApic(_bus, 3);
        _apic = new LocalApic(0, _bus, new ManualClock(), () => 0, 1_000_000_000, () => { });
        _apic.Out32(0xF0, 0x1FF);
    }

    public void Dispose() => _apic.Dispose();

    private uint Get(uint register)
    {
        _ioApic.Out32(0, register);
        return _ioApic.In32(0x10);
    }

    private void Put(uint register, uint value)
    {
        _ioApic.Out32(0, register);
        _ioApic.Out32(0x10, value);
    }

    [Fact]
    public void Identifies_itself_masked()
    {
        Assert.Equal(3u << 24, Get(0));
        Assert.Equal(0x0017_0020u, Get(1));
        Assert.Equal(0x1_0000u, Get(0x10 + 46));
        Assert.Equal(0u, Get(0x40));
        Put(0x11, 0xFFFF_FFFF);
        Assert.Equal(0xFF00_0000u, Get(0x11));
    }

    [Fact]
    public void An_edge_interrupts_once_and_is_lost_while_masked()
    {
        Put(0x18, 0x1_0041);
        _ioApic.Line(4).Set(true);
        _ioApic.Line(4).Set(false);
        Put(0x18, 0x41);
        Assert.False(_apic.HasInterrupt);
        _ioApic.Line(4).Set(true);
        Assert.Equal(0x41, _apic.Acknowledge());
        _apic.Out32(0xB0, 0);
        Assert.False(_apic.HasInterrupt);
    }

    [Fact]
    public void A_level_interrupts_again_after_eoi_until_it_goes()
    {
        Put(0x10 + 18, 0x8041);
        _ioApic.Line(9).Set(true);
        Assert.Equal(0xC041u, Get(0x10 + 18));
        Assert.Equal(0x41, _apic.Acknowledge());
        Assert.NotEqual(0u, _apic.In32(0x1A0)); // TMR
        _apic.Out32(0xB0, 0);
        Assert.Equal(0x41, _apic.Acknowledge());
        _ioApic.Line(9).Set(false);
        _apic.Out32(0xB0, 0);
        Assert.False(_apic.HasInterrupt);
        Assert.Equal(0x8041u, Get(0x10 + 18));
    }

    [Fact]
    public void A_level_that_waits_is_sent_when_unmasked()
    {
        _ioApic.Line(9).Set(true);
        Put(0x10 + 18, 0x8041);
        Assert.True(_apic.HasInterrupt);
    }

    [Fact]
    public void A_level_nobody_took_is_sent_again_later()
    {
        _apic.Out32(0xF0, 0xFF);
        Put(0x10 + 18, 0x8041);
        _ioApic.Line(9).Set(true);
        Assert.Equal(0x8041u, Get(0x10 + 18));
        _apic.Out32(0xF0, 0x1FF);
        Put(0x10 + 18, 0x8041);
        Assert.Equal(0x41, _apic.Acknowledge());
    }

    [Fact]
    public void The_eoi_register_and_a_turn_to_edge_clear_remote_irr()
    {
        Put(0x10 + 18, 0x8041);
        _ioApic.Line(9).Set(true);
        _ioApic.Line(9).Set(false);
        _ioApic.Out32(0x40, 0x41);
        Assert.Equal(0x8041u, Get(0x10 + 18));
        _ioApic.Line(9).Set(true);
        Put(0x10 + 18, 0x1_0041);
        Assert.Equal(0x1_0041u, Get(0x10 + 18));
    }

    [Fact]
    public void Devices_share_a_level_line()
    {
        var probe = new Probe();
        var shared = new SharedLine(probe);
        var (a, b) = (shared.NewInput(), shared.NewInput());
        a.Set(true);
        b.Set(true);
        a.Set(false);
        Assert.True(probe.Level);
        b.Set(false);
        Assert.False(probe.Level);
        Assert.Equal(1, probe.Rises);
    }
}
