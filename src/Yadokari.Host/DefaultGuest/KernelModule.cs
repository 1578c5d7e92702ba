using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Files;

namespace Yadokari.Host.DefaultGuest;

/// <summary>
/// Reads a Linux kernel module from a package's file: an ELF file <c>NAME.ko</c>, or a compressed one, as the distribution chose
/// (CONFIG_MODULE_COMPRESS, kernel/module/Kconfig). busybox loads only uncompressed modules.
/// </summary>
internal static class KernelModule
{
    private const int LargestModule = 64 << 20;

    private static readonly string[] s_endings = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

    /// <summary>The module's name from its file's path; null if that is not a module. The kernel replaces <c>-</c> in a file's name by <c>_</c>.</summary>
    public static string? NameOf(string path)
    {
        string file = Path.GetFileName(path);
        return s_endings.FirstOrDefault(e => file.EndsWith(e, StringComparison.Ordinal)) is { } ending ? file[..^ending.Length].Replace('-', '_') : null;
    }

    /// <summary>Reads a module, uncompressed.</summary>
    /// <exception cref="UserErrorException">The file is damaged.</exception>
    public static byte[] Read(string path)
    {
        try
        {
            return PayloadUnpacker.UnpackFile(File.ReadAllBytes(path), LargestModule);
        }
        catch (InvalidDataException)
        {
            throw new UserErrorException($"The kernel's module {Path.GetFileName(path)} can't be unpacked: run yado again, or give --kernel and --initrd.");
        }
    }

    /// <summary>Adds modules, uncompressed, to an archive below <c>lib/modules</c>, ordered by name.</summary>
    public static void AddTo(CpioWriter archive, IEnumerable<string> paths)
    {
        const uint Readable = 0x1A4; // 0644
        foreach (string path in paths.Order(StringComparer.Ordinal))
        {
            archive.AddFile($"lib/modules/{NameOf(path)}.ko", Readable, Read(path));
        }
    }
}
