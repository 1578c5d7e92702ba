using System.Buffers.Binary;
using System.Text;
using Yadokari.Boards.Pc.Acpi;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Memory;
using Yadokari.Devices.Firmware;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// Starts a bzImage by its real-mode entry after a BIOS (Linux, Documentation/arch/x86/boot.rst). The kernel's protected-mode part and the initrd
/// are in RAM from the start, where SeaBIOS does not write. The real-mode part is in an option ROM, SeaBIOS's first boot device, which copies it
/// to its address and jumps there.
/// </summary>
public sealed class RealModeBoot
{
    private const string RomName = "kernel.rom";

    // SeaBIOS uses the end of low RAM for itself.
    private const ulong FirmwareRoom = 4 << 20;

    // Fields of the setup header in the file.
    private const int OldCommandLineMagic = 0x020;
    private const int OldCommandLineOffset = 0x022;
    private const int VideoMode = 0x1FA;
    private const int TypeOfLoader = 0x210;
    private const int LoadFlags = 0x211;
    private const int SetupMoveSize = 0x212;
    private const int RamdiskImage = 0x218;
    private const int RamdiskSize = 0x21C;
    private const int HeapEnd = 0x224;
    private const int CommandLinePointer = 0x228;
    private const ushort CommandLineMagic = 0xA33F;
    private const byte UnknownLoader = 0xFF;
    private const byte CanUseHeap = 0x80;
    private const ushort NormalVideo = 0xFFFF;
    private const int StackSize = 0x200;

    // Offsets in the option ROM: the flag that it booted, its headers (Plug and Play BIOS Specification 1.0A, 3.1 and 3.2), the boot entry vector,
    // the bytes that it copies.
    private const int Done = 0x10;
    private const int PnpPointer = 0x1A;
    private const int PnpHeader = 0x20;
    private const int PnpSize = 0x20;
    private const int ManufacturerName = 0x40;
    private const int ProductName = 0x50;
    private const int BootEntry = 0x60;
    private const int Contents = 0x100;
    private const int RomUnit = 512;

    private readonly KernelImage _kernel;
    private readonly Initrd? _initrd;
    private readonly ulong _initrdAddress;

    /// <summary>Chooses addresses for all parts and builds the option ROM.</summary>
    /// <param name="kernel">A bzImage.</param>
    /// <param name="memory">The guest's RAM; not written here.</param>
    /// <param name="parameters">Command line and initrd. Not owned.</param>
    /// <exception cref="UserErrorException">The kernel is not a bzImage, or kernel, initrd or command line do not fit.</exception>
    public RealModeBoot(KernelImage kernel, GuestMemory memory, BootParameters parameters)
    {
        BootLoader.CheckModules(kernel, parameters);
        if (kernel.Format != KernelFormat.BzImage)
        {
            throw new ConfigurationException("/firmware", $"The kernel '{kernel.Name}' is not a bzImage, and firmware can start no other kernel", $"leave {{/firmware}} out");
        }

        _kernel = kernel;
        _initrd = parameters.Initrd;
        SetupHeader setup = kernel.Setup;
        ulong end = PcLayout.ExtendedMemory + (ulong)(kernel.File.Length - setup.ProtectedModeOffset);
        BootLoader.CheckRoom(kernel, memory, PcLayout.ExtendedMemory, end);
        ulong top = Math.Max(MemoryMap.LowEnd(memory), FirmwareRoom + PcLayout.ExtendedMemory) - FirmwareRoom;
        ulong initrdMax = Math.Min(setup.InitrdAddressMax, top - 1);
        (_initrdAddress, ulong initrdLength) = BootLoader.FindPlace(memory, _initrd, Math.Max(end, setup.PreferredAddress + setup.InitSize), initrdMax, above4G: false);

        // Addresses as in the protocol's example: the command line after 64 KiB of code, heap and stack; with older protocols at 0x90000.
        bool old = setup.Version < 0x0202;
        uint start = old ? 0x9_0000u : 0x1_0000u;
        ushort heapEnd = (ushort)(old ? 0x9800 : 0xE000);
        uint limit = Math.Min(setup.CommandLineMax, old ? 0x7FFu : 0x1FFF);
        byte[] text = [.. Encoding.UTF8.GetBytes(parameters.CommandLine), 0];
        if (text.Length - 1 > limit)
        {
            throw new ConfigurationException("/append", $"The kernel command line is {text.Length - 1} bytes long; this kernel takes {limit} at most", $"shorten {{/append}}");
        }

        byte[] code = kernel.File[..setup.ProtectedModeOffset];
        if (code.Length > heapEnd - StackSize)
        {
            throw new UserErrorException($"The kernel '{kernel.Name}' has a real-mode part of {code.Length} bytes, more than fit below its command line; copy or download it again.");
        }

        code[TypeOfLoader] = UnknownLoader;
        BinaryPrimitives.WriteUInt16LittleEndian(code.AsSpan(VideoMode), NormalVideo);
        BinaryPrimitives.WriteUInt32LittleEndian(code.AsSpan(RamdiskImage), (uint)_initrdAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(code.AsSpan(RamdiskSize), (uint)initrdLength);
        if (setup.Version >= 0x0201)
        {
            code[LoadFlags] |= CanUseHeap;
            BinaryPrimitives.WriteUInt16LittleEndian(code.AsSpan(HeapEnd), (ushort)(heapEnd - StackSize));
        }

        if (old)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(code.AsSpan(OldCommandLineMagic), CommandLineMagic);
            BinaryPrimitives.WriteUInt16LittleEndian(code.AsSpan(OldCommandLineOffset), heapEnd);
            BinaryPrimitives.WriteUInt16LittleEndian(code.AsSpan(SetupMoveSize), (ushort)(heapEnd + text.Length));
        }
        else
        {
            BinaryPrimitives.WriteUInt32LittleEndian(code.AsSpan(CommandLinePointer), start + heapEnd);
        }

        Rom = MakeRom(code, text, (ushort)(start >> 4), heapEnd);
    }

    /// <summary>The option ROM.</summary>
    public byte[] Rom { get; }

    /// <summary>Passes the option ROM to the firmware. Called when the machine is built.</summary>
    public void Describe(FwCfg fwCfg)
    {
        fwCfg.AddFile($"genroms/{RomName}", Rom);
        fwCfg.AddFile("bootorder", Encoding.ASCII.GetBytes($"/rom@genroms/{RomName}\n\0"));
    }

    /// <summary>Copies the parts above 1 MiB to RAM. Only while no vCPU runs.</summary>
    public BootReport Load(GuestMemory memory)
    {
        memory.Write(PcLayout.ExtendedMemory, _kernel.File.AsSpan(_kernel.Setup.ProtectedModeOffset));
        _initrd?.CopyTo(memory, _initrdAddress);
        return new BootReport("linux16", null, TimeSpan.Zero);
    }

    private static byte[] MakeRom(byte[] code, byte[] commandLine, ushort segment, ushort heapEnd)
    {
        int text = Contents + code.Length;
        byte[] rom = new byte[(text + commandLine.Length + 1 + RomUnit - 1) / RomUnit * RomUnit];
        (rom[0], rom[1], rom[2], rom[3]) = (0x55, 0xAA, (byte)(rom.Length / RomUnit), 0xCB); // Its initialization is a far return.
        rom[PnpPointer] = PnpHeader;
        Span<byte> header = rom.AsSpan(PnpHeader, PnpSize);
        "$PnP"u8.CopyTo(header);
        (header[4], header[5]) = (1, PnpSize / 16);
        header[14] = ManufacturerName;
        header[16] = ProductName;
        header[21] = 0x14; // A boot device, needed only to be booted from.
        header[26] = BootEntry;
        header[9] = AcpiTable.Checksum(header);
        "Yadokari\0"u8.CopyTo(rom.AsSpan(ManufacturerName));
        "Linux\0"u8.CopyTo(rom.AsSpan(ProductName));
        code.CopyTo(rom, Contents);
        commandLine.CopyTo(rom, text);

        // The command line follows the code. The parts above 1 MiB are loaded once, so a second entry continues with the next boot device.
        byte[] copyAndJump =
        [
            0xFE, 0x06, .. Word(Done), // inc byte [done]
            0xB8, .. Word(segment), // mov ax, segment
            0x8E, 0xC0, // mov es, ax
            0xBE, .. Word(Contents), // mov si, contents
            0x31, 0xFF, // xor di, di
            0xB9, .. Word(code.Length), // mov cx, length
            0xF3, 0xA4, // rep movsb
            0xBF, .. Word(heapEnd), // mov di, heapEnd
            0xB9, .. Word(commandLine.Length), // mov cx, length
            0xF3, 0xA4, // rep movsb
            0x8E, 0xD8, // mov ds, ax
            0x8E, 0xE0, // mov fs, ax
            0x8E, 0xE8, // mov gs, ax
            0x8E, 0xD0, // mov ss, ax
            0xBC, .. Word(heapEnd), // mov sp, heapEnd
            0xEA, 0, 0, .. Word(segment + 0x20), // jmp segment + 20:0
        ];
        byte[] entry =
        [
            0xFA, // cli
            0xFC, // cld
            0x8C, 0xC8, // mov ax, cs
            0x8E, 0xD8, // mov ds, ax
            0x80, 0x3E, .. Word(Done), 0, // cmp byte [done], 0
            0x75, (byte)copyAndJump.Length, // jne next
            .. copyAndJump,
            0xFB, // next: sti
            0xCD, 0x18, // int 18h
            0xCB, // retf
        ];
        entry.CopyTo(rom, BootEntry);
        rom[^1] = AcpiTable.Checksum(rom);
        return rom;
    }

    private static byte[] Word(int value) => [(byte)value, (byte)(value >> 8)];
}
