using System.Buffers.Binary;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// The setup header of a bzImage (Linux, Documentation/arch/x86/boot.rst). Offsets are those of the file's first sectors,
/// which are also those within boot_params. A field that the kernel's version of the protocol does not have returns its default.
/// </summary>
public readonly ref struct SetupHeader(ReadOnlySpan<byte> file)
{
    /// <summary>First byte of the header.</summary>
    public const int Start = 0x1F1;

    /// <summary>"HdrS".</summary>
    public const uint Magic = 0x5372_6448;

    /// <summary>boot_flag.</summary>
    public const ushort BootFlag = 0xAA55;

    /// <summary>loadflags: the protected-mode part loads at 1 MiB, not below.</summary>
    public const byte LoadedHigh = 1;

    /// <summary>xloadflags: the kernel has the 64-bit entry point at 0x200.</summary>
    public const ushort Kernel64 = 1;

    /// <summary>xloadflags: kernel, command line and initrd may lie above 4 GiB.</summary>
    public const ushort CanBeLoadedAbove4G = 2;

    private readonly ReadOnlySpan<byte> _file = file;

    /// <summary>Whether the file is long enough and has the header's signatures.</summary>
    public bool IsPresent => _file.Length >= 0x270 && U16(0x1FE) == BootFlag && U32(0x202) == Magic;

    /// <summary>Protocol version, 0x020F for 2.15.</summary>
    public ushort Version => U16(0x206);

    /// <summary>First byte after the header.</summary>
    public int End => 0x202 + _file[0x201];

    /// <summary>Offset of the protected-mode part in the file.</summary>
    public int ProtectedModeOffset => ((_file[0x1F1] == 0 ? 4 : _file[0x1F1]) + 1) * 512;

    /// <summary>Bytes of the protected-mode part, rounded up to 16.</summary>
    public long ProtectedModeLength => U32(0x1F4) * 16L;

    /// <summary><see cref="LoadedHigh"/> and others.</summary>
    public byte LoadFlags => _file[0x211];

    /// <summary>The highest address the initrd's last byte may have.</summary>
    public uint InitrdAddressMax => Version >= 0x0203 ? U32(0x22C) : 0x37FF_FFFF;

    /// <summary>Alignment that a relocatable kernel requires.</summary>
    public uint Alignment => U32(0x230);

    /// <summary>Extended load flags.</summary>
    public ushort ExtendedFlags => Version >= 0x020C ? U16(0x236) : (ushort)0;

    /// <summary>The longest command line, without the terminating zero.</summary>
    public uint CommandLineMax => Version >= 0x0206 ? U32(0x238) : 255;

    /// <summary>The compressed kernel's offset from the protected-mode part; 0 if the header has none.</summary>
    public uint PayloadOffset => Version >= 0x0208 ? U32(0x248) : 0;

    /// <summary>The compressed kernel's length, including the last four bytes, which contain the unpacked length.</summary>
    public uint PayloadLength => Version >= 0x0208 ? U32(0x24C) : 0;

    /// <summary>The kernel's preferred load address.</summary>
    public ulong PreferredAddress => Version >= 0x020A ? BinaryPrimitives.ReadUInt64LittleEndian(_file[0x258..]) : PcLayout.ExtendedMemory;

    /// <summary>Bytes from the load address that the kernel uses before it reads the memory map.</summary>
    public uint InitSize => Version >= 0x020A ? U32(0x260) : 0;

    /// <summary>The header's own bytes.</summary>
    public ReadOnlySpan<byte> Bytes => _file[Start..End];

    private ushort U16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(_file[offset..]);

    private uint U32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_file[offset..]);
}
