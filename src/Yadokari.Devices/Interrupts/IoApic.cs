using System.Buffers.Binary;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Interrupts;

/// <summary>
/// An I/O APIC (Intel 82093AA data sheet) with 24 inputs, of version 0x20, which adds the EOI register at 0x40; as a bus device, its page at
/// 0xFEC00000. Lines carry "asserted", not volts, so the polarity bits are kept but change nothing.
/// </summary>
public sealed class IoApic : IBusDevice, IPassiveDevice
{
    /// <summary>How many inputs there are.</summary>
    public const int Pins = 24;

    private const ulong Masked = 1ul << 16;
    private const ulong LevelTriggered = 1ul << 15;
    private const ulong RemoteIrr = 1ul << 14;
    private const ulong ReadOnly = RemoteIrr | (1ul << 12);
    private const ulong Implemented = 0xFF00_0000_0001_FFFF;

    private const uint Version = ((Pins - 1) << 16) | 0x20;

    private readonly Lock _lock = new(); // Innermost: messages are sent after leaving it.
    private readonly ApicBus _bus;
    private readonly byte _initialId;
    private readonly ulong[] _entries = new ulong[Pins];
    private readonly bool[] _asserted = new bool[Pins];
    private readonly IInterruptLine[] _lines = new IInterruptLine[Pins];
    private byte _id;
    private byte _selected;

    /// <summary>Puts an I/O APIC on the bus.</summary>
    /// <param name="bus">The bus of the machine.</param>
    /// <param name="id">Its APIC ID, as in the MADT: 0 to 15.</param>
    public IoApic(ApicBus bus, byte id)
    {
        _bus = bus;
        _initialId = (byte)(id & 0xF);
        for (int i = 0; i < Pins; i++)
        {
            _lines[i] = new Input(this, i);
        }

        Reset();
        bus.Join(this);
    }

    /// <summary>The input of a global system interrupt, 0 to 23.</summary>
    public IInterruptLine Line(int gsi) => _lines[gsi];

    /// <summary>Whether an input is not masked. Any thread.</summary>
    public bool IsUnmasked(int gsi) => (Volatile.Read(ref _entries[gsi]) & Masked) == 0;

    /// <summary>Whether an unmasked input has sent an interrupt that is still pending (IRR) in a local APIC. Any thread, no lock held.</summary>
    public bool IsPending(int gsi)
    {
        ulong entry = Volatile.Read(ref _entries[gsi]);
        return (entry & Masked) == 0 && _bus.IsPending((byte)entry);
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        if (offset >= 0x1000)
        {
            return;
        }

        uint value = 0;
        lock (_lock)
        {
            value = (offset & ~3ul) switch
            {
                0x00 => _selected,
                0x10 => ReadSelected(),
                _ => 0,
            };
        }

        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        bytes = bytes[(int)(offset & 3)..];
        data.Clear();
        bytes[..Math.Min(bytes.Length, data.Length)].CopyTo(data);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        switch (offset)
        {
            case 0x00 when data.Length > 0:
                lock (_lock)
                {
                    _selected = data[0];
                }

                break;
            case 0x10 when data.Length >= 4:
                WriteSelected(BinaryPrimitives.ReadUInt32LittleEndian(data));
                break;
            case 0x40 when data.Length > 0:
                EndOfInterrupt(data[0]);
                break;
            default:
                break;
        }
    }

    /// <inheritdoc/>
    public string Name => "ioapic";

    /// <summary>The state after power-on: everything masked. The levels of the inputs are unchanged: devices drive them.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            Array.Fill(_entries, Masked);
            _id = _initialId;
            _selected = 0;
        }
    }

    /// <summary>A vector's interrupt ended at a local APIC: level-triggered inputs that sent it may send again. Any thread, no lock held.</summary>
    internal void EndOfInterrupt(byte vector)
    {
        for (int pin = 0; pin < Pins; pin++)
        {
            if ((byte)Volatile.Read(ref _entries[pin]) != vector)
            {
                continue;
            }

            lock (_lock)
            {
                if ((byte)_entries[pin] != vector || (_entries[pin] & LevelTriggered) == 0)
                {
                    continue;
                }

                _entries[pin] &= ~RemoteIrr;
            }

            SendLevel(pin);
        }
    }

    private uint ReadSelected()
    {
        switch (_selected)
        {
            case 0 or 2:
                return (uint)_id << 24; // 2 is the arbitration ID, loaded with the ID.
            case 1:
                return Version;
            case >= 0x10 and < 0x10 + (2 * Pins):
                ulong entry = _entries[(_selected - 0x10) >> 1];
                return (uint)((_selected & 1) == 0 ? entry : entry >> 32);
            default:
                return 0;
        }
    }

    private void WriteSelected(uint value)
    {
        int pin;
        lock (_lock)
        {
            if (_selected == 0)
            {
                _id = (byte)((value >> 24) & 0xF);
            }

            if (_selected is < 0x10 or >= 0x10 + (2 * Pins))
            {
                return;
            }

            pin = (_selected - 0x10) >> 1;
            ulong old = _entries[pin];
            ulong entry = (_selected & 1) == 0
                ? (old & 0xFFFF_FFFF_0000_0000) | value
                : (old & 0xFFFF_FFFF) | ((ulong)value << 32);
            entry = (entry & Implemented & ~ReadOnly) | (old & RemoteIrr);

            // An edge-triggered entry has no remote IRR; Linux relies on that to end an interrupt by hand.
            _entries[pin] = (entry & LevelTriggered) == 0 ? entry & ~RemoteIrr : entry;
        }

        SendLevel(pin);
    }

    private void SetLevel(int pin, bool asserted)
    {
        ulong entry;
        lock (_lock)
        {
            if (_asserted[pin] == asserted)
            {
                return;
            }

            _asserted[pin] = asserted;
            entry = _entries[pin];
        }

        if (!asserted)
        {
            return;
        }

        if ((entry & LevelTriggered) != 0)
        {
            SendLevel(pin);
        }
        else if ((entry & Masked) == 0)
        {
            _bus.Send(Message(entry)); // An edge while masked is lost (3.2.4).
        }
    }

    private void SendLevel(int pin)
    {
        ulong entry;
        lock (_lock)
        {
            entry = _entries[pin];
            if (!_asserted[pin] || (entry & (Masked | RemoteIrr | LevelTriggered)) != LevelTriggered)
            {
                return;
            }

            _entries[pin] |= RemoteIrr; // Before sending: the EOI may come at once.
        }

        if (!_bus.Send(Message(entry)))
        {
            lock (_lock)
            {
                _entries[pin] &= ~RemoteIrr;
            }
        }
    }

    private static ApicMessage Message(ulong entry) => new(
        Destination: (uint)(entry >> 56),
        Logical: (entry & (1ul << 11)) != 0,
        Delivery: (ApicDelivery)((entry >> 8) & 7),
        Vector: (byte)entry,
        Level: (entry & LevelTriggered) != 0);

    private sealed class Input(IoApic apic, int pin) : IInterruptLine
    {
        public void Set(bool asserted) => apic.SetLevel(pin, asserted);
    }
}
