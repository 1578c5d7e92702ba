using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Disks.Qcow2;

namespace Yadokari.Disks;

/// <summary>Opens disk images of every format.</summary>
public static class DiskImage
{
    /// <summary>What messages call an image, unless they are told otherwise.</summary>
    public const string Disk = "disk";

    /// <summary>The maximum length of a chain of backing files.</summary>
    public const int MaxChain = 64;

    /// <summary>Opens an image and its chain of backing files, those read-only.</summary>
    /// <param name="path">The file.</param>
    /// <param name="readOnly">Whether to open it read-only.</param>
    /// <param name="format">Its format, or null to detect it by name and first bytes.</param>
    /// <param name="unit">The length of a raw disk must be a multiple of this number of bytes.</param>
    /// <param name="what">Its name in messages.</param>
    /// <exception cref="UserErrorException">It can't be used.</exception>
    public static IDisk Open(string path, bool readOnly, DiskFormat? format = null, int unit = 512, string what = Disk) =>
        Open(path, readOnly, format, unit, what, []);

    /// <summary>Opens an image read-only with a temporary overlay, which takes all writes and is deleted when it is closed (snapshot mode).</summary>
    /// <param name="path">The file.</param>
    /// <param name="format">Its format, or null to detect it by name and first bytes.</param>
    /// <param name="what">Its name in messages.</param>
    /// <exception cref="UserErrorException">It can't be used, or the overlay can't be created.</exception>
    public static IDisk OpenSnapshot(string path, DiskFormat? format = null, string what = Disk)
    {
        IDisk disk = Open(path, readOnly: true, format, what: what);
        HostFile? file = null;
        try
        {
            file = HostFile.CreateScratch();
            Qcow2Layout.Write(path, file, new Qcow2Header { Size = disk.Length });
            return Qcow2Disk.Open(path, file, readOnly: false, disk);
        }
        catch
        {
            file?.Dispose();
            disk.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Detects the format of an image. A guest can write a qcow2 header into a raw image, with any file of the host as its backing file: without an
    /// explicit format only the file's name, which no guest controls, makes it a qcow2 image.
    /// </summary>
    /// <exception cref="UserErrorException">Its name and its beginning contradict each other.</exception>
    internal static DiskFormat Find(string path, IImageFile file)
    {
        Span<byte> start = stackalloc byte[4];
        bool begins = file.Length >= start.Length && file.TryRead(0, start) && Qcow2Header.IsMagic(start);
        bool named = Path.GetExtension(path) is ".qcow2" or ".qcow";
        return begins == named ? (named ? DiskFormat.Qcow2 : DiskFormat.Raw)
            : begins ? throw new UserErrorException(
                $"The disk '{path}' begins as a qcow2 image does but is not named so: add format=qcow2 if it is one, or format=raw if a guest may have written that.")
            : throw new UserErrorException($"The disk '{path}' is named as a qcow2 image but is none: add format=raw if its bytes are the disk's.");
    }

    // The files of the chain so far, to detect a loop.
    private static IDisk Open(string path, bool readOnly, DiskFormat? format, int unit, string what, List<string> chain)
    {
        string full = FinalPath(path);
        if (chain.Contains(full))
        {
            throw new UserErrorException($"The qcow2 image '{chain[0]}' builds on itself by way of '{path}': give it another backing file with 'qemu-img rebase -u'.");
        }

        if (chain.Count == MaxChain)
        {
            throw new UserErrorException($"The qcow2 image '{chain[0]}' builds on more than {MaxChain} files: convert it to one with 'yado disk convert'.");
        }

        chain.Add(full);
        HostFile? file = HostFile.Open(path, readOnly, what);
        IDisk? backing = null;
        try
        {
            if ((format ?? Find(path, file)) == DiskFormat.Raw)
            {
                HostFile raw = file;
                file = null;
                return RawDisk.Of(path, raw, readOnly, unit, what);
            }

            if (!readOnly && !file.CanGrow)
            {
                throw new UserErrorException($"The qcow2 image '{path}' is a device, which can't grow: open it with ro, or put the image in a file.");
            }

            Qcow2Header header = Qcow2Header.Read(path, file);
            backing = header.BackingName is null ? null : OpenBacking(path, header, chain);
            IDisk disk = Qcow2Disk.Open(path, file, readOnly, backing);
            (file, backing) = (null, null);
            return disk;
        }
        finally
        {
            file?.Dispose();
            backing?.Dispose();
        }
    }

    private static IDisk OpenBacking(string path, Qcow2Header header, List<string> chain)
    {
        string backing = BackingPath(path, header.BackingName!);
        DiskFormat? format = BackingFormat(path, header);
        if (!File.Exists(backing))
        {
            throw new UserErrorException($"The qcow2 image '{path}' builds on '{backing}', which does not exist: put that back, or name another with 'qemu-img rebase -u'.");
        }

        return Open(backing, readOnly: true, format, unit: 1, Disk, chain);
    }

    /// <summary>The format of a backing file; null where the image does not say.</summary>
    internal static DiskFormat? BackingFormat(string path, Qcow2Header header) => header.BackingFormat switch
    {
        null or "" => null,
        "raw" or "file" or "host_device" => DiskFormat.Raw,
        "qcow2" => DiskFormat.Qcow2,
        string other => throw new UserErrorException(
            $"The qcow2 image '{path}' builds on '{header.BackingName}' of the format '{other}', which is not supported: convert that to qcow2 with qemu-img."),
    };

    /// <summary>The path of a backing file: relative to the image that names it.</summary>
    internal static string BackingPath(string path, string name) => name.StartsWith("json:", StringComparison.Ordinal) || name.Contains('\0')
        ? throw new UserErrorException($"The qcow2 image '{path}' builds on '{name}', which is no file: name one with 'qemu-img rebase -u'.")
        : Path.Combine(Path.GetDirectoryName(FinalPath(path)) ?? "/", name);

    private static string FinalPath(string path)
    {
        string full = Path.GetFullPath(path);
        try
        {
            return File.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full;
        }
        catch (IOException)
        {
            return full;
        }
    }
}
