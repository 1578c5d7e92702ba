using System.Buffers.Binary;
using Yadokari.Boards.Pc.Acpi;
using Yadokari.Core;
using Yadokari.Core.Memory;
using Yadokari.Devices.Firmware;
using Yadokari.Devices.Rtc;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// Describes the machine to firmware and test kernels: in the firmware configuration device (QEMU, docs/specs/fw_cfg.rst; SeaBIOS,
/// docs/Runtime_config.md) and in CMOS RAM, as for PC BIOSes (SeaBIOS, src/hw/rtc.h).
/// </summary>
internal static class FirmwareTables
{
    // Bytes at the end of low RAM that hold the ACPI tables.
    private const ulong AcpiSize = 64 << 10;

    // Kinds of ranges in the memory map (ACPI 6.5, table 15.4).
    private const uint Ram = 1;
    private const uint AcpiReclaim = 3;

    // Offsets in CMOS RAM.
    private const int FloppyDrives = 0x10;
    private const int Equipment = 0x14;
    private const int BootOrder21 = 0x3D;
    private const int BootOrder3 = 0x38;
    private const int ExtendedKibibytes = 0x30;
    private const int Above16MiB = 0x34;
    private const int Above4GiB = 0x5B;
    private const int ProcessorsButOne = 0x5F;

    // Equipment: an x87, and one floppy drive (IBM PC/AT technical reference, "CMOS RAM addresses").
    private const byte Coprocessor = 0x02;
    private const byte OneFloppy = 0x01;

    // Kinds of drives in the boot order.
    private const int Floppy = 1;
    private const int HardDisk = 2;
    private const int Cdrom = 3;

    /// <summary>Writes the board's ACPI tables to RAM that firmware does not use.</summary>
    /// <returns>Address of the root pointer.</returns>
    public static ulong WriteAcpi(PcConfig config, GuestMemory memory) =>
        AcpiTables.Write(memory, AcpiBoard.Of(config), PcLayout.RamRegions(config.Memory)[0].Length - AcpiSize);

    /// <summary>Fills the configuration device and CMOS RAM.</summary>
    public static void Describe(PcConfig config, PcResources resources, BootMedia media, GuestMemory memory, FwCfg fwCfg, CmosRtc clock)
    {
        FloppyMedium? floppy = media.Floppy;
        fwCfg.Set(FwCfg.Item.RamSize, BitConverter.GetBytes(config.Memory));
        fwCfg.Set(FwCfg.Item.Cpus, BitConverter.GetBytes((ushort)config.Cpus));
        fwCfg.Set(FwCfg.Item.MaxCpus, BitConverter.GetBytes((ushort)config.Cpus));
        IReadOnlyList<(ulong Gpa, ulong Length)> ram = PcLayout.RamRegions(config.Memory);
        ulong low = ram[0].Length;
        List<(ulong Start, ulong Length, uint Kind)> map = [(0, low - AcpiSize, Ram), (low - AcpiSize, AcpiSize, AcpiReclaim), .. ram.Skip(1).Select(r => (r.Gpa, r.Length, Ram))];
        byte[] bytes = new byte[20 * map.Count];
        for (int i = 0; i < map.Count; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(i * 20), map[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan((i * 20) + 8), map[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan((i * 20) + 16), map[i].Kind);
        }

        fwCfg.AddFile("etc/e820", bytes);
        AddTables(config, memory, fwCfg);

        if (resources.VideoBios is { } videoBios)
        {
            fwCfg.AddFile($"vgaroms/{FirmwareImage.VideoBios}", videoBios);
        }
        else if (!config.Screen)
        {
            // SeaBIOS sends screen output to the serial port, and reads its input as if from the keyboard.
            fwCfg.AddFile("etc/sercon-port", BitConverter.GetBytes((ulong)PcLayout.Com1));
        }

        clock[FloppyDrives] = (byte)((floppy?.Format.Drive ?? 0) << 4); // Drive A in the upper half, B in the lower one.
        clock[Equipment] = (byte)(Coprocessor | (floppy is null ? 0 : OneFloppy));
        Put(clock, ExtendedKibibytes, (uint)Math.Min((low - PcLayout.ExtendedMemory) >> 10, 0xFFFF), 2);
        Put(clock, Above16MiB, low > 16 << 20 ? (uint)((low - (16 << 20)) >> 16) : 0, 2);
        Put(clock, Above4GiB, ram.Count > 1 ? (uint)(ram[1].Length >> 16) : 0, 3);
        clock[ProcessorsButOne] = (byte)(config.Cpus - 1);
        List<int> order = [];
        if (floppy is { Boots: true })
        {
            order.Add(Floppy);
        }

        if (media.HasCdromAlone)
        {
            order.Add(Cdrom);
        }

        order.AddRange([HardDisk, Cdrom]);
        clock[BootOrder21] = (byte)(order[0] | (order[1] << 4));
        clock[BootOrder3] = (byte)(order.Count > 2 ? (order[2] << 4) | 1 : 1);
    }

    // The firmware copies the root pointer to its segment, where systems search for it; the tables that it points to exist already.
    private static void AddTables(PcConfig config, GuestMemory memory, FwCfg fwCfg)
    {
        const string name = "etc/acpi/rsdp";
        byte[] pointer = new byte[AcpiTables.RootPointerSize];
        memory.Read(WriteAcpi(config, memory), pointer);
        fwCfg.AddFile(name, pointer);

        // The same for the MultiProcessor tables. SeaBIOS makes its own too, but does not know this board's interrupt wiring. A scan finds the board's
        // first, because SeaBIOS allocates that segment from its end.
        const string mpName = "etc/mptables";
        fwCfg.AddFile(mpName, MpTables.Build(config.Cpus, 0));
        var loader = new TableLoader();
        loader.Place(name);
        loader.Place(mpName);
        loader.Relocate(mpName, MpTables.PointerAddress);
        loader.Sum(mpName, MpTables.PointerChecksum, MpTables.PointerSize);
        fwCfg.AddFile(TableLoader.Name, loader.Commands);
    }

    private static void Put(CmosRtc clock, int at, uint value, int bytes)
    {
        for (int i = 0; i < bytes; i++)
        {
            clock[at + i] = (byte)(value >> (8 * i));
        }
    }
}
