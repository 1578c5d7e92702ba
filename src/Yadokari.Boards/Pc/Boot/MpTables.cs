using System.Buffers.Binary;
using Yadokari.Boards.Pc.Acpi;
using Yadokari.Devices.Pci;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// Describes processors and interrupts of the PC board to guests without ACPI: the floating pointer structure, followed by the configuration
/// table (Intel, MultiProcessor Specification 1.4, chapter 4). Their interrupt routing is that of the MADT and _PRT.
/// </summary>
public static class MpTables
{
    /// <summary>Bytes of the floating pointer structure.</summary>
    public const int PointerSize = 16;

    /// <summary>Offset in the floating pointer structure of the configuration table's physical address, 32 bits.</summary>
    public const int PointerAddress = 4;

    /// <summary>Offset in the floating pointer structure of its checksum.</summary>
    public const int PointerChecksum = 10;

    private const int HeaderSize = 44;
    private const byte SpecificationRevision = 4;
    private const byte LocalApicVersion = 0x14;
    private const byte IoApicVersion = 0x20;
    private const byte Enabled = 1;
    private const byte BootProcessor = 2;
    private const byte PciBus = 0;
    private const byte IsaBus = 1;
    private const byte AllLocalApics = 0xFF;

    // Guests use CPUID instead of these fields, which describe a processor without it: family 6; FPU and APIC.
    private const uint Signature = 0x600;
    private const uint Features = 0x201;

    // Types of entries, in the order that the specification requires, and of interrupts.
    private const byte Processor = 0;
    private const byte Bus = 1;
    private const byte IoApic = 2;
    private const byte IoInterrupt = 3;
    private const byte LocalInterrupt = 4;
    private const byte Vectored = 0;
    private const byte Nmi = 1;
    private const byte External = 3;

    // Trigger and polarity: conforming to the bus; level, active high.
    private const byte Conforming = 0;
    private const byte LevelActiveHigh = 0xD;

    /// <summary>Builds both structures, one after the other.</summary>
    /// <param name="cpus">Count of processors.</param>
    /// <param name="gpa">Their address, below 1 MiB and a multiple of 16.</param>
    public static byte[] Build(int cpus, ulong gpa)
    {
        byte[] table = Configuration(cpus);
        byte[] bytes = new byte[PointerSize + table.Length];
        "_MP_"u8.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(PointerAddress), (uint)gpa + PointerSize);
        bytes[8] = PointerSize / 16;
        bytes[9] = SpecificationRevision;
        bytes[PointerChecksum] = AcpiTable.Checksum(bytes.AsSpan(0, PointerSize));
        table.CopyTo(bytes, PointerSize);
        return bytes;
    }

    // MultiProcessor Specification 1.4, 4.2
    private static byte[] Configuration(int cpus)
    {
        List<byte> entries = [];
        int count = 0;
        void Add(params ReadOnlySpan<byte> entry)
        {
            entries.AddRange(entry);
            count++;
        }

        for (int i = 0; i < cpus; i++)
        {
            Add([Processor, (byte)i, LocalApicVersion, (byte)(i == 0 ? Enabled | BootProcessor : Enabled), .. Word(Signature), .. Word(Features), .. Word(0), .. Word(0)]);
        }

        byte ioApic = AcpiTables.IoApicId(cpus);
        Add([Bus, PciBus, .. "PCI   "u8]);
        Add([Bus, IsaBus, .. "ISA   "u8]);
        Add([IoApic, ioApic, IoApicVersion, Enabled, .. Word((uint)PcLayout.IoApic)]);
        for (int irq = 0; irq < 16; irq++)
        {
            // Interrupt 2 is the cascade of the 8259s.
            if (irq != 2)
            {
                byte flags = irq == PcLayout.SciIrq ? LevelActiveHigh : Conforming;
                Add(IoInterrupt, Vectored, flags, 0, IsaBus, (byte)irq, ioApic, (byte)(irq == PcLayout.PitIrq ? PcLayout.PitGsi : irq));
            }
        }

        // Each slot has one function with one pin: INTA#.
        for (int slot = 1; slot < PciHost.Slots; slot++)
        {
            Add(IoInterrupt, Vectored, Conforming, 0, PciBus, (byte)(slot << 2), ioApic, (byte)(PcLayout.PciGsi + PciHost.WireOf(slot)));
        }

        // The 8259s are at LINT0 of the first processor, NMI is at LINT1 of each.
        Add(LocalInterrupt, External, Conforming, 0, IsaBus, 0, 0, 0);
        Add(LocalInterrupt, Nmi, Conforming, 0, IsaBus, 0, AllLocalApics, 1);

        byte[] table = new byte[HeaderSize + entries.Count];
        "PCMP"u8.CopyTo(table);
        BinaryPrimitives.WriteUInt16LittleEndian(table.AsSpan(4), (ushort)table.Length);
        table[6] = SpecificationRevision;
        "YADOKARIYADO        "u8.CopyTo(table.AsSpan(8));
        BinaryPrimitives.WriteUInt16LittleEndian(table.AsSpan(34), (ushort)count);
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(36), (uint)PcLayout.LocalApic);
        entries.CopyTo(table, HeaderSize);
        table[7] = AcpiTable.Checksum(table);
        return table;
    }

    private static byte[] Word(uint value) => BitConverter.GetBytes(value);
}
