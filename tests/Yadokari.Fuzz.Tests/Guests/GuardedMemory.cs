using System.Runtime.InteropServices;
using Yadokari.Core.Memory;

namespace Yadokari.Fuzz.Tests.Guests;

/// <summary>RAM of a guest in two regions, with bytes before, between and behind them that nobody may touch.</summary>
internal sealed class GuardedMemory : IMemoryBacking
{
    public const ulong LowSize = 1 << 20;
    public const ulong HighStart = 16 << 20;
    public const ulong HighSize = 2 << 20;

    private const int Guard = 64 << 10;
    private const int LowOffset = Guard;
    private const int HighOffset = LowOffset + (int)LowSize + Guard;
    private const byte Untouched = 0xC5;

    private readonly byte[] _bytes = GC.AllocateArray<byte>(HighOffset + (int)HighSize + Guard, pinned: true);
    private volatile bool _strayed;

    public GuardedMemory()
    {
        Memory = new GuestMemory([new MemoryRegion(0, LowSize, Host + LowOffset), new MemoryRegion(HighStart, HighSize, Host + HighOffset)], this);
        Dma = new Dma(Memory, (gpa, length) => _strayed |= Memory.HostAddress(gpa, length) == 0);
        Renew();
    }

    public GuestMemory Memory { get; }

    public Dma Dma { get; }

    private nint Host => Marshal.UnsafeAddrOfPinnedArrayElement(_bytes, 0);

    /// <summary>As a new machine has it.</summary>
    public void Renew()
    {
        _bytes.AsSpan().Fill(Untouched);
        _bytes.AsSpan(LowOffset, (int)LowSize).Clear();
        _bytes.AsSpan(HighOffset, (int)HighSize).Clear();
        _strayed = false;
    }

    /// <summary>Nothing but RAM was written, nor said to be.</summary>
    public void Check()
    {
        foreach (int guard in (int[])[0, LowOffset + (int)LowSize, HighOffset + (int)HighSize])
        {
            Assert.False(_bytes.AsSpan(guard, Guard).ContainsAnyExcept(Untouched), "Memory outside of RAM was written.");
        }

        Assert.False(_strayed, "Memory outside of RAM was said to be written.");
    }

    /// <summary>Whether bytes are anywhere in it.</summary>
    public bool Contains(ReadOnlySpan<byte> bytes) => _bytes.AsSpan().IndexOf(bytes) >= 0;

    bool IMemoryBacking.TryDiscard(nint host, long length)
    {
        int offset = (int)(host - Host);
        _strayed |= !(offset >= LowOffset && offset + length <= LowOffset + (int)LowSize) && !(offset >= HighOffset && offset + length <= HighOffset + (int)HighSize);
        _bytes.AsSpan(offset, (int)length).Clear();
        return true;
    }

    void IDisposable.Dispose()
    {
    }
}
