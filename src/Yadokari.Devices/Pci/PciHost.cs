using System.Buffers.Binary;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Pci;

/// <summary>The address windows that a host bridge forwards to its functions, as the bridge's _CRS reports them to the guest.</summary>
/// <param name="Ports">First port and how many.</param>
/// <param name="Memory">First address below 4 GiB and how many bytes.</param>
/// <param name="HighMemory">First address above RAM and how many bytes.</param>
public readonly record struct PciWindows((ulong Start, ulong Length) Ports, (ulong Start, ulong Length) Memory, (ulong Start, ulong Length) HighMemory);

/// <summary>
/// A host bridge with one bus of 32 functions: configuration space by ports CF8 and CFC (PCI Local Bus 3.0, 3.2.2.3.2) and by memory (PCI
/// Express 3.0, 7.2.2), ranges that the guest places within the windows, and four interrupt wires. Any thread.
/// </summary>
public sealed class PciHost : IPassiveDevice
{
    /// <summary>Number of device slots of the bus.</summary>
    public const int Slots = 32;

    /// <summary>Bytes of the configuration space of one bus.</summary>
    public const ulong EcamSize = 1 << 20;

    /// <summary>Number of interrupt lines (INTA to INTD, swizzled).</summary>
    public const int Wires = 4;

    private readonly Lock _decoding = new(); // Guards where ranges are mapped; taken before functions' and the buses' locks.
    private readonly PciFunction?[] _functions = new PciFunction?[Slots];
    private readonly Bus _pio;
    private readonly Bus _mmio;
    private readonly PciWindows _windows;
    private readonly SharedWire[] _wires;
    private readonly AddressPort _address = new();

    /// <summary>Makes a bridge with no functions but itself.</summary>
    /// <param name="pio">Where ranges of ports go.</param>
    /// <param name="mmio">Where ranges of memory go.</param>
    /// <param name="windows">Where functions may be.</param>
    /// <param name="wires">Four interrupt inputs, and the number by which the 8259s know each.</param>
    public PciHost(Bus pio, Bus mmio, PciWindows windows, IReadOnlyList<(IInterruptLine Line, byte Irq)> wires)
    {
        _pio = pio;
        _mmio = mmio;
        _windows = windows;
        _wires = [.. wires.Select(w => new SharedWire(new Interrupts.SharedLine(w.Line), w.Irq))];
        Data = new DataPort(this);
        Ecam = new EcamWindow(this);
        Add(0, new PciFunction(PciIdentity.HostBridge));
    }

    private readonly record struct SharedWire(Interrupts.SharedLine Line, byte Irq);

    /// <summary>Port CF8: which function and register. To be mapped with a length of 1: CF9 is another device's.</summary>
    public IBusDevice Address => _address;

    /// <summary>Ports CFC to CFF: the register.</summary>
    public IBusDevice Data { get; }

    /// <summary>Configuration space in memory.</summary>
    public IBusDevice Ecam { get; }

    /// <summary>Which wire the pin of a function in a slot is on.</summary>
    public static int WireOf(int slot) => slot % Wires;

    /// <summary>Puts a function into a slot. When the machine is built.</summary>
    public void Add(int slot, PciFunction function)
    {
        _functions[slot] = function;
        function.Wire(function.HasPin ? _wires[WireOf(slot)].Line.NewInput() : null, Decode);
    }

    /// <summary>Assigns BAR addresses and interrupt line numbers, as firmware would, for guests that start without firmware. While no vCPU runs.</summary>
    public void Assign()
    {
        ulong port = _windows.Ports.Start;
        ulong memory = _windows.Memory.Start;
        for (int slot = 0; slot < Slots; slot++)
        {
            if (_functions[slot] is not { } function)
            {
                continue;
            }

            foreach (PciBar bar in function.Bars)
            {
                ref ulong next = ref bar.Kind == PciBarKind.Ports ? ref port : ref memory;
                ulong start = (next + bar.Size - 1) & ~(bar.Size - 1);
                function.Place(bar, start);
                next = start + bar.Size;
            }

            if (function.HasPin)
            {
                function.SetInterruptLine(_wires[WireOf(slot)].Irq);
            }
        }
    }

    /// <inheritdoc/>
    public string Name => "pci";

    /// <summary>The bridge's state after power-on. Its functions are devices of their own.</summary>
    public void Reset()
    {
        _address.Reset();
        _functions[0]!.Reset();
    }

    // The guest moved a BAR, or changed its decoding: another one that it overlapped may become visible.
    private void Decode()
    {
        lock (_decoding)
        {
            foreach ((PciFunction function, PciBar bar) in Ranges())
            {
                if (bar.MappedAt is { } now && now != function.AddressOf(bar))
                {
                    bar.Unmap(BusOf(bar));
                }
            }

            foreach ((PciFunction function, PciBar bar) in Ranges())
            {
                if (bar.MappedAt is null && function.AddressOf(bar) is { } wanted && IsInWindow(bar, wanted))
                {
                    bar.Map(BusOf(bar), wanted);
                }
            }
        }
    }

    private IEnumerable<(PciFunction Function, PciBar Bar)> Ranges() => _functions.OfType<PciFunction>().SelectMany(f => f.Bars.Select(b => (f, b)));

    private Bus BusOf(PciBar bar) => bar.Kind == PciBarKind.Ports ? _pio : _mmio;

    private bool IsInWindow(PciBar bar, ulong start) => bar.Kind == PciBarKind.Ports
        ? IsWithin(_windows.Ports, start, bar.Size)
        : IsWithin(_windows.Memory, start, bar.Size) || IsWithin(_windows.HighMemory, start, bar.Size);

    private static bool IsWithin((ulong Start, ulong Length) window, ulong start, ulong length) =>
        start >= window.Start && start - window.Start <= window.Length && length <= window.Length - (start - window.Start);

    // Only functions of number 0 on bus 0 are there.
    private PciFunction? Find(uint bus, uint device, uint function) => bus == 0 && function == 0 ? _functions[device] : null;

    private sealed class AddressPort : IBusDevice
    {
        public uint Value;

        public void Read(ulong offset, Span<byte> data)
        {
            if (offset == 0 && data.Length == 4)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(data, Value);
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (offset == 0 && data.Length == 4)
            {
                Value = BinaryPrimitives.ReadUInt32LittleEndian(data) & 0x80FF_FFFC;
            }
        }

        public void Reset() => Value = 0;
    }

    private sealed class DataPort(PciHost host) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
            if (Target(offset, data.Length, out int register) is { } function)
            {
                function.Read(register, data[..Math.Min(data.Length, 4 - (int)offset)]);
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (Target(offset, data.Length, out int register) is { } function)
            {
                function.Write(register, data[..Math.Min(data.Length, 4 - (int)offset)]);
            }
        }

        private PciFunction? Target(ulong offset, int length, out int register)
        {
            uint address = host._address.Value;
            register = (int)((address & 0xFC) + offset);
            return offset < 4 && length > 0 && (address & 0x8000_0000) != 0 ? host.Find(address >> 16 & 0xFF, address >> 11 & 31, address >> 8 & 7) : null;
        }
    }

    private sealed class EcamWindow(PciHost host) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data) => Target(offset)?.Read((int)(offset & 0xFFF), data);

        public void Write(ulong offset, ReadOnlySpan<byte> data) => Target(offset)?.Write((int)(offset & 0xFFF), data);

        private PciFunction? Target(ulong offset) => offset < EcamSize ? host.Find(0, (uint)(offset >> 15) & 31, (uint)(offset >> 12) & 7) : null;
    }
}
