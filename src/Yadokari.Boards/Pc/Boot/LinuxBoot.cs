using System.Buffers.Binary;
using System.Diagnostics;
using Yadokari.Core;
using Yadokari.Core.Files;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// Linux's 64-bit and 32-bit boot protocols (Linux, Documentation/arch/x86/boot.rst; zero-page.rst). A 64-bit bzImage is unpacked here and its
/// kernel entered directly if the compression format is known; otherwise the guest runs the kernel's decompressor.
/// </summary>
public static class LinuxBoot
{
    // Fields of boot_params (Linux, arch/x86/include/uapi/asm/bootparam.h).
    private const int ExtendedKibibytes = 0x002;
    private const int ScreenMode = 0x006;
    private const int ScreenColumns = 0x007;
    private const int ScreenLines = 0x00E;
    private const int ScreenIsVga = 0x00F;
    private const int ScreenPoints = 0x010;
    private const int AcpiRsdpAddress = 0x070;
    private const int ExtRamdiskImage = 0x0C0;
    private const int ExtRamdiskSize = 0x0C4;
    private const int AlternativeKibibytes = 0x1E0;
    private const int E820Entries = 0x1E8;
    private const int VideoMode = 0x1FA;
    private const int BootFlag = 0x1FE;
    private const int HeaderMagic = 0x202;
    private const int Version = 0x206;
    private const int TypeOfLoader = 0x210;
    private const int LoadFlags = 0x211;
    private const int Code32Start = 0x214;
    private const int RamdiskImage = 0x218;
    private const int RamdiskSize = 0x21C;
    private const int CommandLinePointer = 0x228;
    private const int E820Table = 0x2D0;
    private const int Size = 4096;

    private const byte UnknownLoader = 0xFF;
    private const uint Entry64 = 0x200;

    // The kernel's segments start 2 MiB into the file, so that unpacking this much below their address leaves most of them in place.
    private const ulong UsualFirstOffset = 0x20_0000;

    /// <summary>Loads a kernel and sets the boot processor's registers.</summary>
    /// <exception cref="UserErrorException">Kernel, initrd or command line do not fit, or the kernel is damaged.</exception>
    public static BootReport Load(KernelImage kernel, GuestMemory memory, BootParameters parameters, X86State state)
    {
        byte[] zeroPage = new byte[Size];
        BootReport report;
        ulong entry;
        ulong kernelEnd;
        ulong initrdMax = uint.MaxValue;
        bool above4G = true;
        uint commandLineMax = 2047;
        bool wide = true;
        if (kernel.Format == KernelFormat.BzImage)
        {
            SetupHeader setup = kernel.Setup;
            setup.Bytes.CopyTo(zeroPage.AsSpan(SetupHeader.Start));
            initrdMax = setup.InitrdAddressMax;
            above4G = (setup.ExtendedFlags & SetupHeader.CanBeLoadedAbove4G) != 0;
            commandLineMax = setup.CommandLineMax;
            wide = (setup.ExtendedFlags & SetupHeader.Kernel64) != 0;
            BootLoader.CheckRoom(kernel, memory, PcLayout.ExtendedMemory, setup.PreferredAddress + InitSize(kernel, setup));
            (entry, kernelEnd, report) = wide && parameters.Unpack && TryDirect(kernel, setup, memory) is { } direct
                ? direct
                : LoadPacked(kernel, setup, memory);
        }
        else
        {
            BinaryPrimitives.WriteUInt16LittleEndian(zeroPage.AsSpan(BootFlag), SetupHeader.BootFlag);
            BinaryPrimitives.WriteUInt32LittleEndian(zeroPage.AsSpan(HeaderMagic), SetupHeader.Magic);
            BinaryPrimitives.WriteUInt16LittleEndian(zeroPage.AsSpan(Version), 0x020F);
            BootLoader.LoadSegments(kernel, memory);
            entry = kernel.Elf!.Entry;
            kernelEnd = kernel.Elf.PhysicalEnd;
            report = new BootReport("linux64", null, TimeSpan.Zero);
        }

        BootLoader.WriteCommandLine(memory, parameters.CommandLine, commandLineMax);
        (ulong initrd, ulong initrdLength) = BootLoader.PlaceInitrd(memory, parameters.Initrd, kernelEnd, initrdMax, above4G);
        if (parameters.Screen)
        {
            DescribeScreen(zeroPage);
        }

        FillZeroPage(zeroPage, memory, parameters.Rsdp, initrd, initrdLength, kernel.Format == KernelFormat.BzImage ? 0 : (uint)entry);
        memory.Write(PcLayout.ZeroPage, zeroPage);
        if (wide)
        {
            EntryState.Long(memory, state, entry);
        }
        else
        {
            EntryState.Protected(memory, state, (uint)entry);
        }

        state.Gpr[6] = PcLayout.ZeroPage;
        return report;
    }

    // The state after a video BIOS has set mode 3.
    private static void DescribeScreen(Span<byte> page)
    {
        page[ScreenMode] = 3;
        page[ScreenColumns] = 80;
        page[ScreenLines] = 25;
        page[ScreenIsVga] = 1;
        page[ScreenPoints] = 16;
    }

    private static void FillZeroPage(Span<byte> page, GuestMemory memory, ulong rsdp, ulong initrd, ulong initrdLength, uint code32Start)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(page[AcpiRsdpAddress..], rsdp);
        BinaryPrimitives.WriteUInt32LittleEndian(page[ExtRamdiskImage..], (uint)(initrd >> 32));
        BinaryPrimitives.WriteUInt32LittleEndian(page[ExtRamdiskSize..], (uint)(initrdLength >> 32));
        BinaryPrimitives.WriteUInt32LittleEndian(page[RamdiskImage..], (uint)initrd);
        BinaryPrimitives.WriteUInt32LittleEndian(page[RamdiskSize..], (uint)initrdLength);
        BinaryPrimitives.WriteUInt32LittleEndian(page[CommandLinePointer..], (uint)PcLayout.CommandLine);
        BinaryPrimitives.WriteUInt16LittleEndian(page[VideoMode..], 0xFFFF);
        uint extended = (uint)((MemoryMap.LowEnd(memory) - PcLayout.ExtendedMemory) >> 10);
        BinaryPrimitives.WriteUInt16LittleEndian(page[ExtendedKibibytes..], (ushort)Math.Min(extended, 0xFC00));
        BinaryPrimitives.WriteUInt32LittleEndian(page[AlternativeKibibytes..], extended);
        page[TypeOfLoader] = UnknownLoader;
        page[LoadFlags] |= SetupHeader.LoadedHigh;
        if (code32Start != 0)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(page[Code32Start..], code32Start);
        }

        IReadOnlyList<MemoryRange> map = MemoryMap.Of(memory);
        page[E820Entries] = (byte)map.Count;
        for (int i = 0; i < map.Count; i++)
        {
            Span<byte> entry = page[(E820Table + (i * 20))..];
            BinaryPrimitives.WriteUInt64LittleEndian(entry, map[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], map[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)map[i].Kind);
        }
    }

    // Bytes from its address that the kernel may use before it reads the memory map. Before protocol 2.10 there was no field: the decompressor
    // needs room for the compressed and the unpacked kernel.
    private static ulong InitSize(KernelImage kernel, SetupHeader setup)
    {
        ReadOnlySpan<byte> code = kernel.File.AsSpan(setup.ProtectedModeOffset);
        ulong length = (ulong)code.Length;
        return setup.InitSize == 0
            ? length + PayloadUnpacker.UnpackedLength(code.Slice((int)setup.PayloadOffset, (int)setup.PayloadLength))
            : Math.Max(setup.InitSize, length);
    }

    private static (ulong Entry, ulong End, BootReport Report) LoadPacked(KernelImage kernel, SetupHeader setup, GuestMemory memory)
    {
        memory.Write(setup.PreferredAddress, kernel.File.AsSpan(setup.ProtectedModeOffset));
        bool wide = (setup.ExtendedFlags & SetupHeader.Kernel64) != 0;
        return (setup.PreferredAddress + (wide ? Entry64 : 0), setup.PreferredAddress + InitSize(kernel, setup), new BootReport(wide ? "linux64" : "linux32", null, TimeSpan.Zero));
    }

    /// <summary>
    /// Does the decompressor's work, without KASLR: unpacks the ELF file, moves its segments to their addresses, enters it. Returns null if that is
    /// not possible; the guest then runs the decompressor.
    /// </summary>
    private static (ulong Entry, ulong End, BootReport Report)? TryDirect(KernelImage kernel, SetupHeader setup, GuestMemory memory)
    {
        long offset = (long)setup.ProtectedModeOffset + setup.PayloadOffset;
        if (setup.PayloadLength < 16 || offset + setup.PayloadLength > kernel.File.Length)
        {
            return null;
        }

        var payload = new ArraySegment<byte>(kernel.File, (int)offset, (int)setup.PayloadLength);
        string? compression = PayloadUnpacker.Recognise(payload);
        uint length = PayloadUnpacker.UnpackedLength(payload);
        ulong scratch = setup.PreferredAddress >= PcLayout.ExtendedMemory + UsualFirstOffset
            ? setup.PreferredAddress - UsualFirstOffset
            : PcLayout.ExtendedMemory;
        if (compression is null || length is < 64 or > int.MaxValue || memory.HostAddress(scratch, length) == 0)
        {
            return null;
        }

        long start = Stopwatch.GetTimestamp();
        if (!PayloadUnpacker.Unpack(payload, memory, scratch, (int)length))
        {
            throw new UserErrorException($"The kernel '{kernel.Name}' has a damaged {compression} payload; copy or download it again.");
        }

        memory.TrySlice(scratch, (int)length, out Span<byte> unpacked);
        bool is64Bit = ElfFile.TryRead(unpacked, out ElfFile file) && file is { Is64Bit: true, IsLittleEndian: true, Machine: KernelImage.MachineX8664 };
        ElfImage? elf = is64Bit ? ElfImage.Parse(file) : null;
        ulong end = Math.Max(elf?.PhysicalEnd ?? 0, setup.PreferredAddress + setup.InitSize);
        bool loads = elf is not null
            && elf.Segments.All(s => s.Physical >= PcLayout.ExtendedMemory && memory.HostAddress(s.Physical, s.MemorySize) != 0)
            && elf.Segments.Any(s => elf.Entry - s.Physical < s.MemorySize);
        if (!loads)
        {
            BootLoader.Clear(memory, scratch, scratch + length);
            return null;
        }

        SegmentMover.Move(memory, elf!.Segments, scratch, length);
        return (elf.Entry, end, new BootReport("linux64 direct", compression, Stopwatch.GetElapsedTime(start)));
    }
}
