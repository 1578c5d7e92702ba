using System.Runtime.InteropServices;
using Yadokari.Core.Memory;

namespace Yadokari.X86.Tests;

/// <summary>Guest memory from address 0 over a pinned array.</summary>
internal sealed class TestMemory : IDisposable
{
    private readonly byte[] _bytes;

    public TestMemory(int length)
    {
        _bytes = GC.AllocateArray<byte>(length + 4096, pinned: true);
        nint start = (Marshal.UnsafeAddrOfPinnedArrayElement(_bytes, 0) + 4095) & ~4095;
        Guest = new GuestMemory([new MemoryRegion(0, (ulong)length, start)], null);
    }

    public GuestMemory Guest { get; }

    public ulong this[ulong gpa]
    {
        get => Guest.TryReadUInt64(gpa, out ulong value) ? value : throw new InvalidOperationException();
        set => Guest.Write(gpa, BitConverter.GetBytes(value));
    }

    public uint Read32(ulong gpa) => Guest.TryReadUInt32(gpa, out uint value) ? value : throw new InvalidOperationException();

    public void Write32(ulong gpa, uint value) => Guest.Write(gpa, BitConverter.GetBytes(value));

    public void Dispose()
    {
        Guest.Dispose();
        GC.KeepAlive(_bytes);
    }
}
