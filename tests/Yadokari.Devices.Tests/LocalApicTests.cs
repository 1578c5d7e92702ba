using Yadokari.Devices.Interrupts;

namespace Yadokari.Devices.Tests;

/// <summary>Intel SDM volume 3, chapter 11.</summary>
public sealed class LocalApicTests : IDisposable
{
    private const uint X2Base = 0x800;
    private readonly ManualClock _clock = new();
    private readonly ApicBus _bus = new();
    private readonly LocalApic[] _apics;
    private readonly int[] _notified = new int[3];

    public LocalApicTests()
    {
        _apics = [.. Enumerable.Range(0, 3).Select(i => new LocalApic(i, _bus, _clock, () => (ulong)_clock.Now * 2, 2_000_000_000, () => _notified[i]++))];
        foreach (LocalApic apic in _apics)
        {
            apic.Out32(0xF0, 0x1FF);
            apic.Out32(0xE0, 0xFFFF_FFFF);
            apic.Out32(0xD0, 1u << (24 + apic.Id));
        }
    }

    private LocalApic First => _apics[0];

    public void Dispose() => Array.ForEach(_apics, a => a.Dispose());

    private void Interrupt(byte vector, bool level = false) => _bus.Send(new ApicMessage(0, false, ApicDelivery.Fixed, vector, level));

    private void EnterX2()
    {
        foreach (LocalApic apic in _apics)
        {
            Assert.True(apic.ReadMsr(0x1B, out ulong value));
            Assert.True(apic.WriteMsr(0x1B, value | 0x400));
        }
    }

    [Fact]
    public void Identifies_itself()
    {
        Assert.Equal(2u << 24, _apics[2].In32(0x20));
        Assert.Equal(0x0005_0014u, First.In32(0x30));
        Assert.True(First.ReadMsr(0x1B, out ulong value));
        Assert.Equal(0xFEE0_0900ul, value);
        _apics[1].ReadMsr(0x1B, out value);
        Assert.Equal(0xFEE0_0800ul, value);
    }

    [Fact]
    public void An_interrupt_goes_from_request_to_service_to_its_end()
    {
        Interrupt(0x51);
        Assert.Equal(1, _notified[0]);
        Assert.True(First.HasInterrupt);
        Assert.Equal(1u << 17, First.In32(0x220));
        Assert.Equal(0x51, First.Acknowledge());
        Assert.False(First.HasInterrupt);
        Assert.Equal(1u << 17, First.In32(0x120));
        Assert.Equal(0x50u, First.In32(0xA0));
        Interrupt(0x5F); // Same class: waits.
        Assert.False(First.HasInterrupt);
        Interrupt(0x61); // Higher: nests.
        Assert.Equal(0x61, First.Acknowledge());
        First.Out32(0xB0, 0);
        Assert.False(First.HasInterrupt);
        First.Out32(0xB0, 0);
        Assert.Equal(0x5F, First.Acknowledge());
        Assert.Equal(-1, First.Acknowledge());
    }

    [Fact]
    public void Task_priority_holds_back_its_class_and_below()
    {
        First.TaskPriority = 5;
        Assert.Equal(0x50u, First.In32(0x80));
        Interrupt(0x5F);
        Assert.False(First.HasInterrupt);
        Assert.Equal(0, _notified[0]);
        First.TaskPriority = 4;
        Assert.True(First.HasInterrupt);
        Assert.Equal(1, _notified[0]);
        First.Out32(0x80, 0xF0);
        Assert.Equal(15, First.TaskPriority);
        Assert.False(First.HasInterrupt);
    }

    [Fact]
    public void A_disabled_apic_takes_no_fixed_interrupts_and_masks_its_entries()
    {
        First.Out32(0xF0, 0xFF);
        Interrupt(0x51);
        Assert.False(First.HasInterrupt);
        First.Out32(0x320, 0x40);
        Assert.Equal(0x1_0040u, First.In32(0x320));
    }

    [Theory]
    [InlineData(0x0000_0051u, 0x0100_0000u, "1")] // Physical.
    [InlineData(0x0000_0051u, 0xFF00_0000u, "012")]
    [InlineData(0x0000_0851u, 0x0600_0000u, "12")] // Logical, flat.
    [InlineData(0x0004_0051u, 0u, "0")] // Shorthands.
    [InlineData(0x0008_0051u, 0u, "012")]
    [InlineData(0x000C_0051u, 0u, "12")]
    [InlineData(0x0000_0951u, 0x0600_0000u, "1")] // Lowest priority: 2 is busier.
    public void Ipis_reach_whom_they_name(uint low, uint high, string targets)
    {
        _apics[2].TaskPriority = 3;
        First.Out32(0x310, high);
        First.Out32(0x300, low);
        Assert.Equal(targets, string.Concat(_apics.Where(a => a.In32(0x220) != 0).Select(a => a.Id)));
    }

    [Fact]
    public void Clusters_are_matched_in_cluster_mode()
    {
        foreach (LocalApic apic in _apics)
        {
            apic.Out32(0xE0, 0x0FFF_FFFF);
            apic.Out32(0xD0, (uint)((apic.Id == 2 ? 0x20 : 0x10) | (1 << apic.Id)) << 24);
        }

        First.Out32(0x310, 0x1700_0000);
        First.Out32(0x300, 0x851);
        Assert.Equal([true, true, false], _apics.Select(a => a.HasInterrupt));
    }

    [Fact]
    public void Init_and_startup_raise_events_and_init_resets()
    {
        var log = new List<string>();
        _apics[1].Init += () => log.Add("init");
        _apics[1].StartUp += page => log.Add($"startup {page:x}");
        _apics[1].Nmi += () => log.Add("nmi");
        First.Out32(0x310, 1u << 24);
        First.Out32(0x300, 0xC500); // INIT assert, level triggered: what Linux sends.
        First.Out32(0x300, 0x8500); // De-assert: nothing.
        First.Out32(0x300, 0x0699);
        First.Out32(0x300, 0x0400);
        Assert.Equal(["init", "startup 99", "nmi"], log);
        Assert.Equal(0xFFu, _apics[1].In32(0xF0));
        Assert.Equal(0u, First.In32(0x300) & 0x1000); // Sent.
    }

    [Fact]
    public void Illegal_vectors_are_errors()
    {
        First.Out32(0x370, 0xFE);
        First.Out32(0x300, 0x0004_0005);
        Assert.Equal(0xFE, First.Acknowledge());
        Interrupt(0x0F);
        First.Out32(0x280, 0);
        Assert.Equal(0x60u, First.In32(0x280));
        First.Out32(0x280, 0);
        Assert.Equal(0u, First.In32(0x280));
    }

    [Fact]
    public void X2apic_mode_moves_the_registers_into_msrs()
    {
        Assert.False(First.ReadMsr(X2Base + 2, out _));
        EnterX2();
        Assert.False(First.MmioEnabled);
        Assert.True(_apics[2].ReadMsr(X2Base + 2, out ulong id));
        Assert.Equal(2ul, id);
        Assert.True(_apics[2].ReadMsr(X2Base + 0xD, out ulong logical));
        Assert.Equal(4ul, logical);
        Assert.True(First.WriteMsr(X2Base + 0x30, 0x6_0000_0851)); // Logical: 1 and 2 of cluster 0.
        Assert.Equal([false, true, true], _apics.Select(a => a.HasInterrupt));
        Assert.True(First.WriteMsr(X2Base + 0x30, 0xFFFF_FFFF_0000_0061));
        Assert.Equal([0x61, 0x61, 0x61], _apics.Select(a => a.Acknowledge()));
        Assert.True(First.WriteMsr(X2Base + 0x3F, 0x71));
        Assert.Equal(0x71, First.Acknowledge());
        Assert.True(First.WriteMsr(X2Base + 0xB, 0));
    }

    [Theory]
    [InlineData(0xBu, 1ul)] // EOI takes zero.
    [InlineData(0x2u, 0ul)]
    [InlineData(0xDu, 0ul)]
    [InlineData(0xEu, 0ul)]
    [InlineData(0x31u, 0ul)]
    [InlineData(0x8u, 0x100ul)]
    [InlineData(0x8u, 1ul << 32)]
    [InlineData(0xFFu, 0ul)]
    public void X2apic_mode_faults_on_what_is_reserved(uint register, ulong value)
    {
        EnterX2();
        Assert.False(First.WriteMsr(X2Base + register, value));
    }

    [Fact]
    public void Modes_change_in_the_allowed_order_only()
    {
        Assert.False(First.WriteMsr(0x1B, 0xFEE0_0500)); // x2APIC without enable.
        EnterX2();
        Assert.False(First.WriteMsr(0x1B, 0xFEE0_0900));
        Assert.True(First.WriteMsr(0x1B, 0xFEE0_0100));
        Assert.False(First.Enabled);
        Assert.False(First.WriteMsr(0x1B, 0xFEE0_0D00));
        Assert.True(First.WriteMsr(0x1B, 0xFEE0_0900));
        Assert.False(First.WriteMsr(0x1B, 0xFEE0_0901));
    }

    [Fact]
    public void One_shot_timer_counts_down_and_fires_once()
    {
        First.Out32(0x3E0, 0x3); // By 16.
        First.Out32(0x320, 0xEC);
        First.Out32(0x380, 1_000);
        _clock.Advance(8_000);
        Assert.Equal(500u, First.In32(0x390));
        _clock.Advance(7_999);
        Assert.False(First.HasInterrupt);
        _clock.Advance(1);
        Assert.Equal(0xEC, First.Acknowledge());
        First.Out32(0xB0, 0);
        _clock.AdvanceSeconds(1);
        Assert.Equal(0u, First.In32(0x390));
        Assert.False(First.HasInterrupt);
        Assert.Equal(0, _clock.Armed);
    }

    [Fact]
    public void Periodic_timer_fires_at_its_rate_and_a_masked_one_wakes_nobody()
    {
        First.Out32(0x3E0, 0xB); // By 1.
        First.Out32(0x320, 0x2_00EC);
        First.Out32(0x380, 1_000_000);
        for (int i = 0; i < 10; i++)
        {
            _clock.Advance(1_000_000);
            Assert.Equal(0xEC, First.Acknowledge());
            First.Out32(0xB0, 0);
        }

        First.Out32(0x320, 0x3_00EC);
        Assert.Equal(0, _clock.Armed);
        _clock.Advance(500_000);
        Assert.Equal(500_000u, First.In32(0x390));
        First.Out32(0x320, 0x2_00EC);
        Assert.False(First.HasInterrupt);
        _clock.Advance(500_000);
        Assert.True(First.HasInterrupt);
    }

    [Fact]
    public void Tsc_deadline_fires_when_the_counter_gets_there()
    {
        Assert.True(First.WriteMsr(0x6E0, 5_000)); // Ignored in another mode.
        First.Out32(0x320, 0x4_00EC);
        Assert.True(First.WriteMsr(0x6E0, 20_000));
        Assert.True(First.ReadMsr(0x6E0, out ulong value));
        Assert.Equal(20_000ul, value);
        _clock.Advance(9_999);
        Assert.False(First.HasInterrupt);
        _clock.Advance(2);
        Assert.Equal(0xEC, First.Acknowledge());
        First.ReadMsr(0x6E0, out value);
        Assert.Equal(0ul, value);
        First.Out32(0xB0, 0);
        First.WriteMsr(0x6E0, 1); // Past: at once.
        Assert.Equal(0xEC, First.Acknowledge());
        First.Out32(0xB0, 0);
        First.WriteMsr(0x6E0, ulong.MaxValue);
        First.WriteMsr(0x6E0, 0);
        Assert.Equal(0, _clock.Armed);
    }

    [Fact]
    public void The_8259_pair_comes_through_lint0()
    {
        var pic = new DualPic8259(First.Lint0);
        First.AcknowledgeExternal = pic.Acknowledge;
        foreach (byte icw in new byte[] { 0x30, 0x04, 0x01, 0x00 })
        {
            if (icw == 0x30)
            {
                pic.First.Out(0, 0x11);
            }

            pic.First.Out(1, icw);
        }

        pic.Line(4).Set(true);
        Assert.False(First.HasInterrupt); // LINT0 is masked.
        First.EnterVirtualWireMode();
        Assert.True(First.HasInterrupt);
        Interrupt(0x51);
        Assert.Equal(0x34, First.Acknowledge());
        Assert.Equal(0x51, First.Acknowledge());
        Assert.False(First.HasInterrupt);
        pic.First.Out(0, 0x20);
        pic.Line(4).Set(false);
        pic.Line(4).Set(true);
        Assert.True(First.HasInterrupt);
        First.Out32(0x350, 0x1_0700);
        Assert.False(First.HasInterrupt);
    }

    [Fact]
    public void Lint1_is_an_nmi_in_virtual_wire_mode()
    {
        int count = 0;
        First.Nmi += () => count++;
        First.EnterVirtualWireMode();
        First.Lint1.Set(true);
        First.Lint1.Set(true);
        Assert.Equal(1, count);
    }

    [Fact]
    public void A_message_signalled_interrupt_is_a_write()
    {
        _bus.SendMsi(0xFEE0_1000, 0x0051);
        Assert.Equal([false, true, false], _apics.Select(a => a.HasInterrupt));
        _bus.SendMsi(0xFEE0_4004, 0x0061); // Logical: bit 2.
        Assert.Equal(0x61, _apics[2].Acknowledge());
        _bus.SendMsi(0x1000, 0x0071);
        Assert.False(First.HasInterrupt);
    }
}
