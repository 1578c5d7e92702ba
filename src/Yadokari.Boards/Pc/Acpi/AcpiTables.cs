using System.Buffers.Binary;
using Yadokari.Core.Memory;
using Yadokari.Devices.Power;

namespace Yadokari.Boards.Pc.Acpi;

/// <summary>The ACPI tables of the PC board, which tell a guest what the board's schematic says.</summary>
public static class AcpiTables
{
    private const ushort LevelActiveHigh = 0xD;

    /// <summary>Bytes of the root pointer.</summary>
    public const int RootPointerSize = 36;

    /// <summary>Writes all tables.</summary>
    /// <param name="memory">The guest's RAM.</param>
    /// <param name="board">What they tell of.</param>
    /// <param name="start">Where to: the root pointer comes first, for guests that scan for it.</param>
    /// <returns>Address of the root pointer.</returns>
    public static ulong Write(GuestMemory memory, AcpiBoard board, ulong start = PcLayout.AcpiTables)
    {
        // Every table is placed after those it points to.
        ulong next = start + 64;
        ulong facs = Place(memory, ref next, Facs());
        ulong dsdt = Place(memory, ref next, Dsdt.Build(board));
        ulong fadt = Place(memory, ref next, Fadt(facs, dsdt, board.Screen));
        ulong madt = Place(memory, ref next, Madt(board.Cpus));
        ulong mcfg = Place(memory, ref next, Mcfg());
        ulong rsdt = Place(memory, ref next, Rsdt(fadt, madt, mcfg));
        ulong xsdt = Place(memory, ref next, Xsdt(fadt, madt, mcfg));
        memory.Write(start, Rsdp(rsdt, xsdt));
        return start;
    }

    private static ulong Place(GuestMemory memory, ref ulong next, byte[] table)
    {
        ulong gpa = next;
        memory.Write(gpa, table);
        next = (gpa + (ulong)table.Length + 63) & ~63UL;
        return gpa;
    }

    // ACPI 6.5, 5.2.5.3. Guests that know ACPI 1.0 only follow the RSDT's address without a look at the revision.
    private static byte[] Rsdp(ulong rsdt, ulong xsdt)
    {
        byte[] rsdp = new byte[RootPointerSize];
        "RSD PTR "u8.CopyTo(rsdp);
        "YADOKA"u8.CopyTo(rsdp.AsSpan(9));
        rsdp[15] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(rsdp.AsSpan(16), (uint)rsdt);
        BinaryPrimitives.WriteUInt32LittleEndian(rsdp.AsSpan(20), (uint)rsdp.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(rsdp.AsSpan(24), xsdt);
        rsdp[8] = AcpiTable.Checksum(rsdp.AsSpan(0, 20));
        rsdp[32] = AcpiTable.Checksum(rsdp);
        return rsdp;
    }

    // ACPI 6.5, 5.2.7: all tables lie below 4 GiB.
    private static byte[] Rsdt(params ReadOnlySpan<ulong> tables)
    {
        var rsdt = new AcpiTable("RSDT", 1, AcpiTable.HeaderSize + (tables.Length * 4));
        for (int i = 0; i < tables.Length; i++)
        {
            rsdt.U32(AcpiTable.HeaderSize + (i * 4), (uint)tables[i]);
        }

        return rsdt.Finish();
    }

    // ACPI 6.5, 5.2.8
    private static byte[] Xsdt(params ReadOnlySpan<ulong> tables)
    {
        var xsdt = new AcpiTable("XSDT", 1, AcpiTable.HeaderSize + (tables.Length * 8));
        for (int i = 0; i < tables.Length; i++)
        {
            xsdt.U64(AcpiTable.HeaderSize + (i * 8), tables[i]);
        }

        return xsdt.Finish();
    }

    // ACPI 6.5, 5.2.10: no checksum
    private static byte[] Facs()
    {
        byte[] facs = new byte[64];
        "FACS"u8.CopyTo(facs);
        BinaryPrimitives.WriteUInt32LittleEndian(facs.AsSpan(4), (uint)facs.Length);
        facs[32] = 2;
        return facs;
    }

    // ACPI 6.5, 5.2.9
    private static byte[] Fadt(ulong facs, ulong dsdt, bool screen)
    {
        const ushort legacyDevices = 1 << 0;
        const ushort keyboardController = 1 << 1;
        const ushort noVga = 1 << 2;
        const uint wbinvd = 1 << 0;
        const uint c1OnAll = 1 << 2;
        const uint noSleepButton = 1 << 5;
        const uint noRtcWake = 1 << 6;
        const uint timer32 = 1 << 8;
        const uint resetRegister = 1 << 10;
        const ushort pm1Event = PcLayout.PowerManagement + AcpiPowerManagement.Pm1EventOffset;
        const ushort pm1Control = PcLayout.PowerManagement + AcpiPowerManagement.Pm1ControlOffset;
        const ushort timer = PcLayout.PowerManagement + AcpiPowerManagement.TimerOffset;
        const ushort gpe0 = PcLayout.PowerManagement + AcpiPowerManagement.Gpe0Offset;

        var fadt = new AcpiTable("FACP", 6, 276);
        fadt.U32(36, (uint)facs);
        fadt.U32(40, (uint)dsdt);
        fadt.U16(46, PcLayout.SciIrq);
        fadt.U32(56, pm1Event);
        fadt.U32(64, pm1Control);
        fadt.U32(76, timer);
        fadt.U32(80, gpe0);
        fadt.U8(88, AcpiPowerManagement.Pm1EventLength);
        fadt.U8(89, AcpiPowerManagement.Pm1ControlLength);
        fadt.U8(91, AcpiPowerManagement.TimerLength);
        fadt.U8(92, AcpiPowerManagement.Gpe0Length);
        fadt.U16(96, 0xFFF); // C2 and C3 are not there.
        fadt.U16(98, 0xFFF);
        fadt.U8(108, 0x32); // The century's place in CMOS.

        // Without a screen the keyboard controller has nothing plugged in and serves for reset only: kernels need not look for it.
        fadt.U16(109, (ushort)(legacyDevices | (screen ? keyboardController : noVga)));
        fadt.U32(112, wbinvd | c1OnAll | noSleepButton | noRtcWake | timer32 | resetRegister);
        fadt.Port(116, PcLayout.ResetControl, bits: 8, accessSize: 1);
        fadt.U8(128, ResetControl.FullReset);
        fadt.U8(131, 5);
        fadt.U64(140, dsdt);
        fadt.Port(148, pm1Event, AcpiPowerManagement.Pm1EventLength * 8, accessSize: 2);
        fadt.Port(172, pm1Control, AcpiPowerManagement.Pm1ControlLength * 8, accessSize: 2);
        fadt.Port(208, timer, AcpiPowerManagement.TimerLength * 8, accessSize: 3);
        fadt.Port(220, gpe0, AcpiPowerManagement.Gpe0Length * 8, accessSize: 1);
        return fadt.Finish();
    }

    // ACPI 6.5, 5.2.12
    private static byte[] Madt(int cpus)
    {
        List<byte> body = [];
        Span<byte> word = stackalloc byte[4];
        void U32(Span<byte> word, uint value)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(word, value);
            body.AddRange(word);
        }

        U32(word, (uint)PcLayout.LocalApic);
        U32(word, 1); // The board has 8259s too.
        for (int i = 0; i < cpus; i++)
        {
            body.AddRange([0, 8, (byte)i, (byte)i]);
            U32(word, 1);
        }

        body.AddRange([1, 12, IoApicId(cpus), 0]);
        U32(word, (uint)PcLayout.IoApic);
        U32(word, 0);

        // ISA interrupts that are not what they are by default: edge, active high, input of the same number.
        body.AddRange([2, 10, 0, PcLayout.PitIrq]);
        U32(word, PcLayout.PitGsi);
        body.AddRange([0, 0]);
        body.AddRange([2, 10, 0, PcLayout.SciIrq]);
        U32(word, PcLayout.SciIrq);
        body.AddRange([(byte)LevelActiveHigh, 0]);

        // NMI is at LINT1 of every processor.
        body.AddRange([4, 6, 0xFF, 0, 0, 1]);
        return new AcpiTable("APIC", 5, [.. body]).Finish();
    }

    // PCI Firmware Specification 3.2, 4.1.2: where the configuration space of bus 0 of segment 0 is.
    private static byte[] Mcfg()
    {
        var mcfg = new AcpiTable("MCFG", 1, AcpiTable.HeaderSize + 24);
        mcfg.U64(AcpiTable.HeaderSize + 8, PcLayout.PciEcam);
        return mcfg.Finish();
    }

    /// <summary>The I/O APIC's ID: the first that no processor has.</summary>
    public static byte IoApicId(int cpus) => (byte)cpus;
}
