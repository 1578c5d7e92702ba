using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Yadokari.Core.Memory;

namespace Yadokari.Machines.Tests;

/// <summary>Guest RAM from the C heap, zeroed; host pages are touched only when used.</summary>
internal static unsafe class TestMemory
{
    public static GuestMemory OfMiB(ulong mebibytes)
    {
        List<MemoryRegion> regions = [];
        Backing backing = new();
        foreach ((ulong gpa, ulong length) in PcLayout.RamRegions(mebibytes << 20))
        {
            // SAFETY: freed by Backing, which GuestMemory disposes of last; the slack makes room for the alignment.
            void* host = NativeMemory.AllocZeroed((nuint)length + 4096);
            backing.Pieces.Add((nint)host);
            regions.Add(new MemoryRegion(gpa, length, ((nint)host + 4095) & ~4095));
        }

        return new GuestMemory(regions, backing);
    }

    public static byte[] Bytes(this GuestMemory memory, ulong gpa, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(memory.Read(gpa, bytes));
        return bytes;
    }

    public static ushort U16(this GuestMemory memory, ulong gpa) => BinaryPrimitives.ReadUInt16LittleEndian(memory.Bytes(gpa, 2));

    public static uint U32(this GuestMemory memory, ulong gpa) => BinaryPrimitives.ReadUInt32LittleEndian(memory.Bytes(gpa, 4));

    public static ulong U64(this GuestMemory memory, ulong gpa) => BinaryPrimitives.ReadUInt64LittleEndian(memory.Bytes(gpa, 8));

    private sealed class Backing : IDisposable
    {
        public List<nint> Pieces { get; } = [];

        public void Dispose()
        {
            foreach (nint piece in Pieces)
            {
                // SAFETY: allocated above and freed once.
                NativeMemory.Free((void*)piece);
            }

            Pieces.Clear();
        }
    }
}
