using Yadokari.Core.Buses;
using Yadokari.Devices.Pci;

namespace Yadokari.Devices.Tests;

/// <summary>Configuration space, ranges that move, interrupts by wire and by message.</summary>
public sealed class PciTests
{
    private const int Command = 4;
    private const int Bar0 = 0x10;
    private const uint Decode = 3;
    private const uint Master = 4;

    private readonly Bus _pio = new("pio");
    private readonly Bus _mmio = new("mmio");
    private readonly Probe[] _wires = [new(), new(), new(), new()];
    private readonly List<(ulong Address, uint Data)> _messages = [];
    private readonly PciHost _host;

    public PciTests()
    {
        var windows = new PciWindows((0xC000, 0x4000), (0xD000_0000, 0x1000_0000), (0x10_0000_0000, 0x10_0000_0000));
        _host = new PciHost(_pio, _mmio, windows, [.. _wires.Select((w, i) => ((IInterruptLine)w, (byte)(10 + i)))]);
    }

    [Theory]
    [InlineData(PciBarKind.Memory32, 0x4000u, 0xFFFF_C000u, 0u)]
    [InlineData(PciBarKind.Memory64, 0x4000u, 0xFFFF_C004u, 0xFFFF_FFFFu)]
    [InlineData(PciBarKind.Ports, 0x20u, 0xFFFF_FFE1u, 0u)]
    public void A_range_tells_its_size(PciBarKind kind, uint size, uint low, uint high)
    {
        PciFunction function = Function(kind, size);
        Config(3, Bar0, uint.MaxValue);
        Config(3, Bar0 + 4, uint.MaxValue);
        Assert.Equal((low, high), (Config(3, Bar0), Config(3, Bar0 + 4)));
        Assert.Equal(size, function.Bars[0].Size);
    }

    [Fact]
    public void Both_ways_to_configuration_space_are_one()
    {
        Function(PciBarKind.Memory32, 0x1000);
        _host.Address.Out32(0, 0x8000_0000 | (3 << 11) | 0x3C);
        _host.Data.Out(0, 0x5A);
        Assert.Equal(0x5A, _host.Ecam.In((3 << 15) | 0x3C));
        _host.Ecam.Out((3 << 15) | 0x3C, 0xA5);
        Assert.Equal(0xA5, _host.Data.In(0));
        Assert.Equal(0x8000_183Cu, _host.Address.In32(0));
        Assert.Equal(0x1042_1AF4u, Config(3, 0));
    }

    [Theory]
    [InlineData(4, 0)]
    [InlineData(3, 1)]
    public void Where_nobody_is_all_bits_are_set(int slot, int function)
    {
        Function(PciBarKind.Memory32, 0x1000);
        _host.Address.Out32(0, 0x8000_0000 | (uint)(slot << 11) | (uint)(function << 8));
        Assert.Equal(uint.MaxValue, _host.Data.In32(0));
        Assert.Equal(uint.MaxValue, _host.Ecam.In32((ulong)((slot << 15) | (function << 12))));
        _host.Address.Out32(0, 1 << 16 | 0x8000_0000);
        Assert.Equal(uint.MaxValue, _host.Data.In32(0));
        _host.Address.Out32(0, 3 << 11);
        Assert.Equal(uint.MaxValue, _host.Data.In32(0));
    }

    [Fact]
    public void A_range_goes_where_the_guest_puts_it()
    {
        Function(PciBarKind.Memory64, 0x1000);
        Config(3, Bar0, 0xD000_2000);
        Assert.Equal(0xFF, Memory(0xD000_2000));
        Config(3, Command, Decode);
        Assert.Equal(0x42, Memory(0xD000_2000));
        Assert.Equal(0xFF, Memory(0xD000_3000));
        Config(3, Bar0 + 4, 0x10);
        Assert.Equal((0xFF, 0xFF), (Memory(0xD000_2000), Memory(0x10_D000_2001)));
        Config(3, Bar0, 0);
        Assert.Equal(0x42, Memory(0x10_0000_0000));
        Config(3, Command, 0);
        Assert.Equal(0xFF, Memory(0x10_0000_0000));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(0xCFFF_F000u)]
    [InlineData(0xE000_0000u)]
    [InlineData(0xFEC0_0000u)]
    [InlineData(0xFFFF_F000u)]
    public void Outside_the_windows_it_is_nowhere(uint address)
    {
        Function(PciBarKind.Memory32, 0x1000);
        Config(3, Command, Decode);
        Config(3, Bar0, address);
        Assert.Equal(0xFF, Memory(address));
    }

    [Fact]
    public void A_range_that_was_covered_comes_back_when_the_other_goes()
    {
        Function(PciBarKind.Ports, 0x20);
        Function(PciBarKind.Ports, 0x20, slot: 4, shows: 0x43);
        Config(3, Command, Decode);
        Config(4, Command, Decode);
        Config(3, Bar0, 0xC000);
        Config(4, Bar0, 0xC000);
        Assert.Equal(0x42, Port(0xC000));
        Config(3, Bar0, 0xC100);
        Assert.Equal((0x43, 0x42), (Port(0xC000), Port(0xC100)));
    }

    [Fact]
    public void After_a_reset_ranges_are_nowhere()
    {
        PciFunction function = Function(PciBarKind.Memory32, 0x1000);
        _host.Assign();
        Config(3, Command, Decode);
        uint address = Config(3, Bar0);
        Assert.Equal(0x42, Memory(address));
        function.Reset();
        Assert.Equal((0xFF, 0u, 0u), (Memory(address), Config(3, Bar0), Config(3, Command) & 0xFFFF));
    }

    [Fact]
    public void Ranges_are_assigned_apart_and_pins_numbered()
    {
        Function(PciBarKind.Memory64, 0x1000);
        Function(PciBarKind.Memory32, 0x8000, slot: 6);
        _host.Assign();
        Assert.Equal((0xD000_0004u, 0xD000_8000u), (Config(3, Bar0), Config(6, Bar0)));
        Assert.Equal((13u, 12u), (Config(3, 0x3C) & 0xFF, Config(6, 0x3C) & 0xFF));
    }

    [Fact]
    public void A_pin_pulls_its_wire_until_it_may_not()
    {
        PciFunction function = Function(PciBarKind.Memory32, 0x1000);
        function.SetPin(true);
        Assert.True(_wires[3].Level);
        Assert.Equal(0x08u, Config(3, 6) & 0x08);
        Config(3, Command, 0x400);
        Assert.False(_wires[3].Level);
        Config(3, Command, 0);
        Assert.True(_wires[3].Level);
        MsixOf(function, enabled: true);
        Assert.False(_wires[3].Level);
    }

    [Fact]
    public void Messages_wait_while_they_are_masked()
    {
        PciFunction function = Function(PciBarKind.Memory32, 0x1000);
        MsixTable table = function.Msix!;
        table.Out32(0, 0xFEE0_1000);
        table.Out32(8, 0x31);
        table.Signal(0);
        Assert.Empty(_messages);
        MsixOf(function, enabled: true);
        table.Signal(0);
        Assert.Equal(1, table.In(MsixTable.PendingOffset));
        table.Out32(12, 0);
        Assert.Equal([(0xFEE0_1000ul, 0x31u)], _messages);
        Assert.Equal(0, table.In(MsixTable.PendingOffset));
        MsixOf(function, enabled: true, masked: true);
        table.Signal(0);
        Assert.Single(_messages);
        MsixOf(function, enabled: true);
        Assert.Equal(2, _messages.Count);
        table.Signal(2);
        table.Signal(-1);
        Assert.Equal(2, _messages.Count);
    }

    [Fact]
    public void Who_may_not_access_memory_sends_no_messages()
    {
        PciFunction function = Function(PciBarKind.Memory32, 0x1000);
        MsixOf(function, enabled: true);
        MsixTable table = function.Msix!;
        table.Out32(12, 0);
        Config(3, Command, Decode);
        table.Signal(0);
        Assert.Empty(_messages);
    }

    private PciFunction Function(PciBarKind kind, ulong size, int slot = 3, byte shows = 0x42)
    {
        var function = new PciFunction(new PciIdentity(0x1AF4, 0x1042, 0x01_80_00));
        PciBar bar = function.AddBar(0, kind, size);
        bar.Add(0, 1, "shows", new Constant(shows));
        PciBar second = function.AddBar(2, PciBarKind.Memory32, 0x1000);
        function.AddMsix(second, 0, "msix", new MsixTable(2, (address, data) => _messages.Add((address, data))));
        function.AddPin();
        _host.Add(slot, function);
        return function;
    }

    private void MsixOf(PciFunction function, bool enabled, bool masked = false)
    {
        Config(3, Command, Decode | Master);
        function.Write(0x42, [0, (byte)((enabled ? 0x80 : 0) | (masked ? 0x40 : 0))]);
    }

    private uint Config(int slot, int offset) => _host.Ecam.In32((ulong)((slot << 15) | offset));

    private void Config(int slot, int offset, uint value) => _host.Ecam.Out32((ulong)((slot << 15) | offset), value);

    private byte Memory(ulong address)
    {
        byte[] data = [0];
        _mmio.Read(address, data);
        return data[0];
    }

    private byte Port(ulong port)
    {
        byte[] data = [0];
        _pio.Read(port, data);
        return data[0];
    }

    private sealed class Constant(byte value) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data) => data[0] = value;

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
        }
    }
}
