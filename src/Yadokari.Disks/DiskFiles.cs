using System.Numerics;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Disks.Qcow2;

namespace Yadokari.Disks;

/// <summary>Creates, converts, describes and checks images. A new image gets its name only once it is complete.</summary>
public static class DiskFiles
{
    private const int Chunk = 1 << 20;
    private const int RawUnit = 4096;

    /// <summary>Makes an empty image.</summary>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public static void Create(string path, NewDisk wanted)
    {
        if (wanted.Backing is { } backing)
        {
            if (wanted.Format == DiskFormat.Raw)
            {
                throw new UserErrorException($"A raw image can't build on '{backing}': make a qcow2 image.");
            }

            string file = DiskImage.BackingPath(path, backing);
            using IDisk disk = DiskImage.Open(file, readOnly: true, wanted.BackingFormat, unit: 1);
            wanted = wanted with { BackingFormat = disk is RawDisk ? DiskFormat.Raw : DiskFormat.Qcow2, Size = wanted.Size ?? ((disk.Length + 511) & ~511L) };
        }

        Make(path, wanted, (file, header) => Begin(path, file, wanted, header));
    }

    /// <summary>Converts an image: the same disk in another format, sparse.</summary>
    /// <param name="source">The image to read, with its backing files.</param>
    /// <param name="format">Its format, or null to find it out.</param>
    /// <param name="path">The image to make.</param>
    /// <param name="wanted">What that is like.</param>
    /// <param name="progress">Called from time to time with the progress, from 0 to 1.</param>
    /// <param name="cancelled">Ends it; nothing is left then.</param>
    /// <exception cref="UserErrorException">It can't be done.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public static void Convert(string source, DiskFormat? format, string path, NewDisk wanted, Action<double> progress, CancellationToken cancelled)
    {
        using IDisk from = DiskImage.Open(source, readOnly: true, format);
        wanted = wanted with { Size = from.Length };
        Make(path, wanted, (file, header) =>
        {
            Begin(path, file, wanted, header);
            if (wanted.Format == DiskFormat.Raw)
            {
                Copy(from, RawUnit, path, file.TryWrite, progress, cancelled);
                Require(file.TryFlush(), path);
                return;
            }

            using Qcow2Disk to = Qcow2Disk.Open(path, file, readOnly: false, null);
            byte[] packed = new byte[wanted.ClusterSize];
            TryPut write = wanted.Compression is null ? to.TryWrite : (offset, data) => TryCompress(to, offset, data, packed);
            Copy(from, wanted.ClusterSize, path, write, progress, cancelled);
            Require(to.TryFlush(), path);
        });
    }

    /// <summary>Describes an image, without opening its backing files.</summary>
    /// <exception cref="UserErrorException">It can't be read.</exception>
    public static DiskDescription Describe(string path, DiskFormat? format = null)
    {
        using HostFile file = HostFile.Open(path, readOnly: true);
        if ((format ?? DiskImage.Find(path, file)) == DiskFormat.Raw)
        {
            return new DiskDescription(path, DiskFormat.Raw, file.Length, file.Allocated);
        }

        Qcow2Header header = Qcow2Header.Read(path, file);
        return new DiskDescription(path, DiskFormat.Qcow2, header.Size, file.Allocated)
        {
            Version = header.Version,
            ClusterSize = header.ClusterSize,
            RefcountBits = 1 << header.RefcountOrder,
            Compression = header.Compression,
            LazyRefcounts = (header.Compatible & Qcow2Header.LazyRefcounts) != 0,
            IsDirty = (header.Incompatible & Qcow2Header.Dirty) != 0,
            IsCorrupt = (header.Incompatible & Qcow2Header.Corrupt) != 0,
            Backing = header.BackingName,
            BackingPath = header.BackingName is { } name ? DiskImage.BackingPath(path, name) : null,
            BackingFormat = DiskImage.BackingFormat(path, header),
            Snapshots = [.. Qcow2Snapshot.ReadAll(path, file, header, out _).Select(s => new DiskSnapshot(s.Id, s.Name, s.Taken))],
        };
    }

    /// <summary>Checks a qcow2 image: whether its refcounts match the references to its clusters.</summary>
    /// <param name="path">The image.</param>
    /// <param name="repair">Whether to repair it.</param>
    /// <returns>What is wrong, before and, if it was repaired, after.</returns>
    /// <exception cref="UserErrorException">It can't be read, or is no qcow2 image.</exception>
    public static (DiskCheck Before, DiskCheck? After) Check(string path, bool repair)
    {
        using HostFile file = HostFile.Open(path, readOnly: !repair);
        Qcow2Check before = Qcow2Check.Run(path, file, Qcow2Header.Read(path, file));
        if (!repair || (before.IsSound && !before.IsMarked))
        {
            return (before.Result, null);
        }

        if (!before.TryRepair())
        {
            throw new UserErrorException($"The qcow2 image '{path}' can't be repaired: check that the host's disk has room, or copy what can be read with 'yado disk convert'.");
        }

        return (before.Result, Qcow2Check.Run(path, file, Qcow2Header.Read(path, file)).Result);
    }

    private delegate bool TryPut(long offset, ReadOnlySpan<byte> data);

    private static void Begin(string path, IImageFile file, NewDisk wanted, Qcow2Header header)
    {
        if (wanted.Format == DiskFormat.Raw)
        {
            Require(file.TrySetLength(header.Size), path);
        }
        else
        {
            Qcow2Layout.Write(path, file, header);
        }
    }

    private static void Make(string path, NewDisk wanted, Action<HostFile, Qcow2Header> fill)
    {
        if (wanted.Size is not { } size || size <= 0 || size % 512 != 0)
        {
            throw new UserErrorException($"A disk of {wanted.Size ?? 0} bytes can't be: give a multiple of 512, as in 10G.");
        }

        if (wanted.Format == DiskFormat.Qcow2 && (!BitOperations.IsPow2(wanted.ClusterSize) || wanted.ClusterSize is < 512 or > 2 << 20))
        {
            throw new UserErrorException($"Clusters of {wanted.ClusterSize} bytes can't be: give a power of two from 512 to 2M.");
        }

        if (Directory.Exists(path))
        {
            throw new UserErrorException($"The image '{path}' is a directory: name a file.");
        }

        if (File.Exists(path))
        {
            if (!wanted.Replace)
            {
                throw new UserErrorException($"The image '{path}' exists: give --force to replace it, or another name.");
            }

            HostFile.Open(path, readOnly: false).Dispose(); // Throws if another process has it locked.
        }

        string full = Path.GetFullPath(path);
        string unfinished = Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.{Guid.NewGuid():n}");
        var header = new Qcow2Header
        {
            Size = size,
            ClusterBits = BitOperations.Log2((uint)wanted.ClusterSize),
            Compatible = wanted.LazyRefcounts ? Qcow2Header.LazyRefcounts : 0,
            Compression = wanted.Compression ?? Qcow2Compression.Zlib,
            BackingName = wanted.Backing,
            BackingFormat = wanted.Backing is null ? null : wanted.BackingFormat == DiskFormat.Raw ? "raw" : "qcow2",
        };
        try
        {
            using (HostFile file = HostFile.Create(unfinished))
            {
                fill(file, header);
            }

            File.Move(unfinished, full, overwrite: wanted.Replace);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"The image '{path}' can't be made ({e.Message.TrimEnd('.')}); choose another name.");
        }
        finally
        {
            if (File.Exists(unfinished))
            {
                File.Delete(unfinished);
            }
        }
    }

    // Copies ranges that are not zeroes, in multiples of the unit.
    private static void Copy(IDisk from, int unit, string path, TryPut put, Action<double> progress, CancellationToken cancelled)
    {
        byte[] buffer = new byte[Math.Max(Chunk, unit)];
        var sparse = from as ISparse;
        for (long at = 0; at < from.Length;)
        {
            cancelled.ThrowIfCancellationRequested();
            progress((double)at / from.Length);
            long known = sparse?.KnownZeroes(at) ?? 0;
            known = at + known >= from.Length ? known : known / unit * unit;
            if (known > 0)
            {
                at += known;
                continue;
            }

            Span<byte> data = buffer.AsSpan(0, (int)Math.Min(buffer.Length, from.Length - at));
            if (!from.TryRead(at, data))
            {
                throw new UserErrorException($"The disk '{from.Path}' can't be read at {at}: the image or the host's disk is damaged.");
            }

            for (int start = 0; start < data.Length;)
            {
                int end = Math.Min(start + unit, data.Length);
                if (!data[start..end].ContainsAnyExcept((byte)0))
                {
                    start = end;
                    continue;
                }

                while (end < data.Length && data[end..Math.Min(end + unit, data.Length)].ContainsAnyExcept((byte)0))
                {
                    end = Math.Min(end + unit, data.Length);
                }

                Require(put(at + start, data[start..end]), path);
                start = end;
            }

            at += data.Length;
        }

        cancelled.ThrowIfCancellationRequested();
    }

    private static bool TryCompress(Qcow2Disk to, long offset, ReadOnlySpan<byte> data, byte[] packed)
    {
        while (!data.IsEmpty)
        {
            // The last cluster of a disk is padded before it is compressed.
            ReadOnlySpan<byte> cluster = data[..Math.Min(data.Length, packed.Length)];
            byte[]? padded = cluster.Length < packed.Length ? new byte[packed.Length] : null;
            if (padded is not null)
            {
                cluster.CopyTo(padded);
            }

            int length = to.Pack(padded ?? cluster, packed);
            if (!(length > 0 ? to.TryWriteCompressed(offset, packed.AsSpan(0, length)) : to.TryWrite(offset, cluster)))
            {
                return false;
            }

            offset += cluster.Length;
            data = data[cluster.Length..];
        }

        return true;
    }

    private static void Require(bool done, string path)
    {
        if (!done)
        {
            throw new UserErrorException($"The image '{path}' can't be written: check that the host's disk has room.");
        }
    }
}
