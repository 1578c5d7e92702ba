using System.Buffers.Binary;
using System.IO.Compression;
using Yadokari.Core;
using Yadokari.Core.Files;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>The supported formats of kernel files.</summary>
public enum KernelFormat
{
    /// <summary>A compressed kernel with a setup header, which distributions ship as vmlinuz.</summary>
    BzImage,

    /// <summary>An uncompressed ELF file with a PVH entry point.</summary>
    ElfPvh,

    /// <summary>An uncompressed 64-bit ELF file, entered by Linux's 64-bit boot protocol.</summary>
    Elf,

    /// <summary>A file with a Multiboot header, of the first or second version.</summary>
    Multiboot,
}

/// <summary>A kernel file with valid headers.</summary>
public sealed class KernelImage
{
    private const ushort MachineX86 = 3;
    internal const ushort MachineX8664 = 62;

    private KernelImage(string name, byte[] file, KernelFormat format, ElfImage? elf, MultibootHeader? multiboot = null)
    {
        Multiboot = multiboot;
        Name = name;
        File = file;
        Format = format;
        Elf = elf;
    }

    /// <summary>Name for messages: the path of the file.</summary>
    public string Name { get; }

    /// <summary>The format.</summary>
    public KernelFormat Format { get; }

    /// <summary>The file's bytes; read-only.</summary>
    public byte[] File { get; }

    /// <summary>A Multiboot kernel's header; otherwise null.</summary>
    public MultibootHeader? Multiboot { get; }

    /// <summary>The ELF headers; null if the file has none, or if the Multiboot header overrides them.</summary>
    public ElfImage? Elf { get; }

    /// <summary>The setup header; present for a bzImage only.</summary>
    public SetupHeader Setup => new(File);

    /// <summary>
    /// Whether the kernel needs a BIOS: a bzImage with only the real-mode entry. Protocol 2.12 tells which other entries exist. Before, only Linux
    /// had one, of 32 bits; from protocol 2.08 on, a compressed payload shows that the kernel is Linux.
    /// </summary>
    public bool NeedsBios
    {
        get
        {
            if (Format != KernelFormat.BzImage || Setup.Version >= 0x020C)
            {
                return false;
            }

            SetupHeader setup = Setup;
            return setup.PayloadLength == 0 || PayloadUnpacker.Recognise(File.AsSpan(setup.ProtectedModeOffset + (int)setup.PayloadOffset)) is null;
        }
    }

    /// <summary>Whether the kernel probably accepts Linux's command-line parameters, judged by its format.</summary>
    public bool IsLinux => Format != KernelFormat.Multiboot && !NeedsBios;

    /// <summary>Reads a kernel file.</summary>
    /// <exception cref="UserErrorException">The file is missing, unreadable or not a kernel that this machine can run.</exception>
    public static KernelImage Open(string path)
    {
        using var file = KernelFile.Open(path);
        return file.Read();
    }

    /// <summary>The message for a file that is not a kernel.</summary>
    internal static string NotKernel(string name) =>
        $"The file '{name}' is not a kernel; give a bzImage (such as /boot/vmlinuz) or an uncompressed ELF kernel.";

    /// <summary>Detects a kernel's format and checks its headers.</summary>
    /// <param name="name">Name for messages.</param>
    /// <param name="file">The file's bytes; not copied.</param>
    /// <exception cref="UserErrorException">The file is not a kernel that this machine can run.</exception>
    public static KernelImage Parse(string name, byte[] file)
    {
        ReadOnlySpan<byte> bytes = file;
        if (bytes.IsEmpty)
        {
            throw new UserErrorException($"The kernel '{name}' is empty; give a bzImage or an uncompressed ELF kernel.");
        }

        if (PayloadUnpacker.Recognise(bytes) == "gzip")
        {
            // Boot loaders unpack such files too; hypervisors are distributed compressed.
            return Parse(name, Unpack(name, file));
        }

        if (ElfFile.IsElf(bytes))
        {
            return ParseElf(name, file);
        }

        var setup = new SetupHeader(bytes);
        if (setup.IsPresent)
        {
            CheckBzImage(name, setup, file.Length);
            return new KernelImage(name, file, KernelFormat.BzImage, null);
        }

        if (MultibootHeader.Find(bytes) is { Addresses: not null } multiboot)
        {
            return OfMultiboot(name, file, null, multiboot);
        }

        throw new UserErrorException(WhyNotKernel(name, bytes));
    }

    private static byte[] Unpack(string name, byte[] file)
    {
        try
        {
            using var stream = new GZipStream(new MemoryStream(file), CompressionMode.Decompress);
            using var copy = new MemoryStream();
            stream.CopyTo(copy);
            byte[] unpacked = copy.ToArray();
            return PayloadUnpacker.Recognise(unpacked) != "gzip" ? unpacked : throw new UserErrorException(NotKernel(name));
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            throw new UserErrorException(Truncated(name));
        }
    }

    private static KernelImage OfMultiboot(string name, byte[] file, ElfImage? elf, MultibootHeader header) => header.Unsupported is { } thing
        ? throw new UserErrorException($"The kernel '{name}' asks its Multiboot loader for {thing}, which this machine does not have; give one built without.")
        : new KernelImage(name, file, KernelFormat.Multiboot, elf, header);

    private static string WhyNotKernel(string name, ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length >= 0x40 && bytes[0x38..].StartsWith("ARMd"u8))
        {
            return $"The kernel '{name}' is for arm64; this machine is x86-64 and needs an x86-64 kernel.";
        }

        if (bytes.Length >= 0x40 && bytes[0x38..].StartsWith("RSC\u0005"u8))
        {
            return $"The kernel '{name}' is for RISC-V; this machine is x86-64 and needs an x86-64 kernel.";
        }

        if (bytes.Length is >= 0x200 and < 0x270 && BinaryPrimitives.ReadUInt16LittleEndian(bytes[0x1FE..]) == SetupHeader.BootFlag)
        {
            return Truncated(name);
        }

        return PayloadUnpacker.Recognise(bytes) is { } format
            ? $"The kernel '{name}' is a {format}-compressed file, not a kernel image; unpack it and give the unpacked file."
            : NotKernel(name);
    }

    private static string Truncated(string name) => $"The kernel '{name}' is truncated; copy or download it again.";

    private static void CheckBzImage(string name, SetupHeader setup, int length)
    {
        if (setup.Version < 0x0200 || (setup.LoadFlags & SetupHeader.LoadedHigh) == 0)
        {
            throw new UserErrorException($"The kernel '{name}' is a zImage, which loads below 1 MiB; give a bzImage.");
        }

        // The length is rounded up to 16, so up to 15 bytes may be missing. Before protocol 2.04 the field was not reliable.
        long start = setup.ProtectedModeOffset;
        long payloadEnd = start + setup.PayloadOffset + setup.PayloadLength;
        if (length < start + 0x400 || (length + 16 < start + setup.ProtectedModeLength && setup.Version >= 0x0204) || length < payloadEnd)
        {
            throw new UserErrorException(Truncated(name));
        }
    }

    private static KernelImage ParseElf(string name, byte[] bytes)
    {
        if (!ElfFile.TryRead(bytes, out ElfFile file))
        {
            throw new UserErrorException(Truncated(name));
        }

        if (file.Machine is not (MachineX86 or MachineX8664) || !file.IsLittleEndian)
        {
            throw new UserErrorException($"The kernel '{name}' is for {MachineName(file.Machine)}; this machine is x86-64 and needs an x86-64 kernel.");
        }

        if (file.Type == ElfFile.Object)
        {
            throw new UserErrorException($"The file '{name}' is an object file or kernel module, not a kernel; give a bzImage or an uncompressed ELF kernel.");
        }

        ElfImage elf = ElfImage.Parse(file) ?? throw new UserErrorException(!file.Is64Bit && MultibootHeader.Find(bytes) is null ? Narrow(name) : Truncated(name));
        if ((elf.PvhEntry is null || !file.Is64Bit) && MultibootHeader.Find(bytes) is { } multiboot)
        {
            return OfMultiboot(name, bytes, elf, multiboot);
        }

        if (elf.PvhEntry is null && !file.Is64Bit)
        {
            throw new UserErrorException(Narrow(name));
        }

        if (elf.PvhEntry is null && (elf.Segments.Any(s => s.Physical < PcLayout.ExtendedMemory) || !elf.Segments.Any(s => elf.Entry - s.Physical < s.MemorySize)))
        {
            throw new UserErrorException($"The file '{name}' is an ELF program, not a kernel; give a bzImage or an uncompressed ELF kernel.");
        }

        return new KernelImage(name, bytes, elf.PvhEntry is null ? KernelFormat.Elf : KernelFormat.ElfPvh, elf);
    }

    private static string Narrow(string name) =>
        $"The file '{name}' is a 32-bit kernel without a Multiboot header or a PVH entry; give a bzImage or a 64-bit kernel.";

    private static string MachineName(ushort machine) => machine switch
    {
        8 => "MIPS",
        20 or 21 => "PowerPC",
        22 => "s390",
        40 => "32-bit ARM",
        183 => "arm64",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => $"another architecture (ELF machine {machine})",
    };
}
