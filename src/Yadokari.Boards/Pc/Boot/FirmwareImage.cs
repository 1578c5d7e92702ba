using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Memory;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>A firmware ROM. It ends at 4 GiB, where the processor starts; its last part is also mapped below 1 MiB.</summary>
public sealed class FirmwareImage
{
    /// <summary>SeaBIOS's video BIOS for a VGA adapter without PCI.</summary>
    internal const string VideoBios = "vgabios-isavga.bin";

    private const int Unit = 64 << 10;
    private const int Largest = 8 << 20;

    // The part of the ROM below 1 MiB: 256 KiB, in the RAM that SeaBIOS copies itself to (shadowing). It does that by the registers of an
    // Intel chip set, which this board does not have, so the whole part is there from the start.
    private const int LowPart = 256 << 10;

    // Paths of SeaBIOS in distributions: Debian and Fedora have a folder for it, others put it in QEMU's.
    private static readonly string[] s_installed =
        ["/usr/share/seabios/bios.bin", "/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios.bin", "/usr/share/qemu/bios-256k.bin"];

    // The GUID of the table before the reset vector of OVMF (EDK II, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm).
    private static readonly byte[] s_ovmfTable = Guid.Parse("96b582de-1fb2-45f7-baea-a366c55a082d").ToByteArray();

    private readonly byte[] _bytes;

    private FirmwareImage(string name, byte[] bytes)
    {
        Name = name;
        _bytes = bytes;
    }

    /// <summary>The path it was read from.</summary>
    public string Name { get; }

    /// <summary>Bytes.</summary>
    public int Length => _bytes.Length;

    /// <summary>First physical address of the ROM.</summary>
    public ulong Start => PcLayout.HighRam - (ulong)_bytes.Length;

    /// <summary>Reads a firmware file.</summary>
    /// <exception cref="UserErrorException">The file is missing, unreadable, or not a BIOS.</exception>
    public static FirmwareImage Open(string path)
    {
        try
        {
            if (Directory.Exists(path))
            {
                throw new UserErrorException($"The firmware '{path}' is a directory; name a file.");
            }

            long length = new FileInfo(path).Length;
            byte[] bytes = length <= Largest ? File.ReadAllBytes(path) : [];
            return WhyNotBios(bytes) is { } reason ? throw new UserErrorException($"The firmware '{path}' {reason}: give a BIOS such as SeaBIOS's bios.bin.")
                : bytes.Length < Unit || bytes.Length % Unit != 0 ? throw new UserErrorException(
                    $"The firmware '{path}' has {length} bytes; a ROM has a multiple of {Unit >> 10} KiB up to {Largest >> 20} MiB: give a file such as SeaBIOS's bios.bin.")
                : new FirmwareImage(path, bytes);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ConfigurationException("/firmware", $"The firmware '{path}' does not exist", $"check the path given to {{/firmware}}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"The firmware '{path}' can't be read ({e.Message.TrimEnd('.')}); check the file and its permissions.");
        }
    }

    /// <summary>Reads the video BIOS in the firmware's folder, as in Debian's package.</summary>
    /// <exception cref="UserErrorException">The file can't be read.</exception>
    internal static byte[] ReadVideoBios(string firmware)
    {
        string path = Path.Combine(Path.GetDirectoryName(firmware) ?? "", VideoBios);
        try
        {
            return File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException("/console", $"The firmware shows nothing on a screen without a video BIOS, and '{path}' can't be read", $"put SeaBIOS's {VideoBios} there, or leave {{/console}} vga out");
        }
    }

    /// <summary>The path of the host's installed SeaBIOS; null without one.</summary>
    internal static string? FindInstalled() => s_installed.FirstOrDefault(File.Exists);

    /// <summary>Copies the ROM to its addresses below 4 GiB and below 1 MiB.</summary>
    public void CopyTo(GuestMemory memory)
    {
        memory.Write(Start, _bytes);
        ReadOnlySpan<byte> low = _bytes.AsSpan(Math.Max(0, _bytes.Length - LowPart));
        memory.Write(PcLayout.ExtendedMemory - (ulong)low.Length, low);
    }

    private static string? WhyNotBios(ReadOnlySpan<byte> rom) =>
        rom.Length < Unit ? null
        : IsUefi(rom) ? "is UEFI firmware such as OVMF, which this machine can't run yet"
        : rom.Length == Unit && rom.IndexOf("qboot\0"u8) >= 0 ? "is qboot, which takes its kernel by an interface of QEMU's that this machine does not have"
        : !rom[^16..].ContainsAnyExcept((byte)0x00) || !rom[^16..].ContainsAnyExcept((byte)0xFF) ? "has no code in its last 16 bytes, where the processor starts"
        : null;

    // A firmware volume that begins at a page (UEFI Platform Initialization 1.8, volume 3, 3.2.1: the signature is 40 bytes into the
    // header), or OVMF's own table, which ends 32 bytes before the end of the ROM.
    private static bool IsUefi(ReadOnlySpan<byte> rom)
    {
        const int page = 4096;
        for (int at = 40; at < rom.Length; at += page)
        {
            if (rom[at..].StartsWith("_FVH"u8))
            {
                return true;
            }
        }

        return rom[^48..^32].SequenceEqual(s_ovmfTable);
    }
}
