using System.Runtime.InteropServices;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Disks.Qcow2;

namespace Yadokari.Disks.Tests;

/// <summary>What a disk should hold, beside the disk: bytes, and for each sector what it may hold after a crash.</summary>
internal sealed class DiskModel
{
    private const int Sector = 512;

    private readonly List<byte[]>[] _versions; // Of a sector: the flushed one, and those since.

    public DiskModel(byte[] contents)
    {
        Bytes = (byte[])contents.Clone();
        _versions = [.. Enumerable.Range(0, contents.Length / Sector).Select(i => (List<byte[]>)[Bytes[(i * Sector)..((i + 1) * Sector)]])];
    }

    public byte[] Bytes { get; }

    /// <summary>Whether what is discarded stays.</summary>
    public bool KeepsDiscarded { get; init; }

    /// <summary>What lengths of pieces are multiples of: a piece that ends within a sector may tear it in a crash.</summary>
    public int PieceUnit { get; init; } = 1;

    /// <summary>Does something to the disk and to the model, or compares them.</summary>
    public void Step(IDisk disk, Random random, int clusterSize, bool mayFail = false, Func<bool>? failed = null)
    {
        int sectors = Bytes.Length / Sector;
        int most = random.Next(8) == 0 ? sectors : Math.Min(sectors, 1 + (2 * clusterSize / Sector));
        int count = 1 + random.Next(most);
        int offset = random.Next(sectors - count + 1) * Sector;
        int length = count * Sector;
        bool done = true;
        switch (random.Next(10))
        {
            case < 4:
                byte[] data = GC.AllocateArray<byte>(length, pinned: true);
                random.NextBytes(data);
                done = random.Next(2) == 0 ? disk.TryWrite(offset, data) : disk.TryWrite(offset, Pieces(data, random, PieceUnit));
                if (done)
                {
                    Put(offset, data);
                }

                break;
            case < 7:
                byte[] read = GC.AllocateArray<byte>(length, pinned: true);
                done = random.Next(2) == 0 ? disk.TryRead(offset, read) : disk.TryRead(offset, Pieces(read, random, PieceUnit));
                if (done)
                {
                    Assert.True(Bytes.AsSpan(offset, length).SequenceEqual(read), "what was read is not what was written");
                }

                break;
            case 7:
                int first = (offset + clusterSize - 1) / clusterSize * clusterSize;
                int end = offset + length == Bytes.Length ? Bytes.Length : (offset + length) / clusterSize * clusterSize;
                done = disk.TryDiscard(offset, length);
                if (done && end > first && !KeepsDiscarded)
                {
                    Put(first, new byte[end - first]);
                }

                break;
            case 8:
                done = disk.TryWriteZeroes(offset, length, mayDiscard: random.Next(2) == 0);
                if (done)
                {
                    Put(offset, new byte[length]);
                }

                break;
            default:
                done = disk.TryFlush();
                if (done)
                {
                    Flushed();
                }

                break;
        }

        if (!done)
        {
            Assert.True(mayFail, "an operation failed");
            Assert.True(failed?.Invoke() ?? true);

            // What failed may have come in part.
            byte[] now = new byte[length];
            if (disk.TryRead(offset, now))
            {
                Put(offset, now);
            }
        }
    }

    public void Flushed()
    {
        for (int i = 0; i < _versions.Length; i++)
        {
            _versions[i] = [_versions[i][^1]];
        }
    }

    /// <summary>After a crash, each sector holds what was flushed last or something that was written since.</summary>
    public void CheckCrashed(byte[] found)
    {
        for (int i = 0; i < _versions.Length; i++)
        {
            ReadOnlySpan<byte> sector = found.AsSpan(i * Sector, Sector);
            bool fits = false;
            foreach (byte[] version in _versions[i])
            {
                fits |= sector.SequenceEqual(version);
            }

            Assert.True(fits, $"sector {i} holds what was never there");
        }
    }

    public static HostBuffer[] Pieces(byte[] pinned, Random random, int unit)
    {
        var pieces = new List<HostBuffer>();
        for (int at = 0; at < pinned.Length;)
        {
            int size = Math.Min(pinned.Length - at, unit * (1 + random.Next((random.Next(2) == 0 ? 100_000 : 5000) / unit)));
            pieces.Add(new HostBuffer(Marshal.UnsafeAddrOfPinnedArrayElement(pinned, at), size));
            at += size;
        }

        return [.. pieces];
    }

    public static byte[] ReadAll(IDisk disk)
    {
        byte[] all = new byte[disk.Length];
        Assert.True(disk.TryRead(0, all));
        return all;
    }

    private void Put(int offset, ReadOnlySpan<byte> data)
    {
        data.CopyTo(Bytes.AsSpan(offset));
        for (int at = 0; at < data.Length; at += Sector)
        {
            _versions[(offset + at) / Sector].Add(data.Slice(at, Sector).ToArray());
        }
    }
}

/// <summary>A kind of image.</summary>
internal sealed record Geometry(int ClusterBits, int RefcountOrder, bool Lazy, int Backing, int Size)
{
    public static Geometry Any(Random random) => new(
        random.Next(9, 17), random.Next(7), random.Next(4) == 0, random.Next(3), 512 * random.Next(1, random.Next(2) == 0 ? 300 : 4000));

    public int ClusterSize => 1 << ClusterBits;

    /// <summary>What stands behind the image: nothing, something shorter, or something of its size.</summary>
    public byte[]? MakeBacking(Random random)
    {
        byte[] bytes = new byte[Backing == 1 ? random.Next(1, Size) : Size];
        random.NextBytes(bytes);
        return Backing == 0 ? null : bytes;
    }

    public Qcow2Header Header(string? backing) => new()
    {
        Size = Size,
        ClusterBits = ClusterBits,
        RefcountOrder = RefcountOrder,
        Compatible = Lazy ? Qcow2Header.LazyRefcounts : 0,
        BackingName = backing,
        BackingFormat = backing is null ? null : "raw",
    };
}
