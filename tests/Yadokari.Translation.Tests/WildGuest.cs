using System.Runtime.InteropServices;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>In what a random guest starts; ring 0 may leave it for another.</summary>
public enum WildMode
{
    /// <summary>64-bit, ring 0.</summary>
    Kernel,

    /// <summary>64-bit, ring 3, over a kernel that only halts.</summary>
    User,

    /// <summary>32-bit code of ring 3 in long mode.</summary>
    Compatibility,

    /// <summary>32-bit protected mode without paging, ring 0.</summary>
    Protected,

    /// <summary>Real mode.</summary>
    Real,
}

/// <summary>
/// A machine whose RAM is random code, run in short episodes from random states. What must not change lies around it: before and behind
/// its RAM, and, so that an address of the guest used as one of the host's is noticed, at the host addresses that its registers point to.
/// </summary>
internal sealed unsafe partial class WildGuest : IDisposable
{
    private const int RamLength = 2 << 20;
    private const int CanaryLength = 1 << 20;
    private const byte CanaryByte = 0xC5;
    private const int KickEveryMs = 2;
    private const int Hops = 32;
    private const int MostSteps = 2000;

    // Guest linear addresses that are also host addresses of canaries: the guest's low RAM as far as the host lets programs map it.
    private const nuint LowCanary = 0x10_0000;

    // Looks after every hop or every instruction, to find the one that is at fault.
    private static readonly string? s_care = Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_CAREFUL");
    private static readonly bool s_careful = s_care != null;

    private readonly Random _random;
    private readonly WildMode _mode;
    private readonly byte* _block;
    private readonly byte* _low;
    private readonly GuestMemory _memory;
    private readonly byte[] _image = new byte[RamLength];
    private readonly IVm _vm;
    private readonly IX86Vcpu _vcpu;
    private readonly X86State _state = new();
    private readonly byte[] _xsave;
    private readonly Timer _kicks;

    public WildGuest(WildMode mode, int seed)
    {
        _mode = mode;
        _random = new Random((seed * 8) + (int)mode);

        // SAFETY: fresh memory of our own, freed in Dispose; the guest gets the middle.
        _block = (byte*)NativeMemory.AlignedAlloc(RamLength + (2 * CanaryLength), 4096);
        new Span<byte>(_block, CanaryLength).Fill(CanaryByte);
        new Span<byte>(_block + CanaryLength + RamLength, CanaryLength).Fill(CanaryByte);
        _low = MapLow();
        _memory = new GuestMemory([new MemoryRegion(0, RamLength, (nint)(_block + CanaryLength))], null);
        WildCode.Fill(_random, _image);
        WildTables.Write(_image, mode, _random);
        _memory.Write(0, _image);
        _vm = new TranslationEngine { CodeCacheBytes = 1 << 20 }.Create(_memory);
        _vcpu = _vm.CreateX86Vcpu(0, new WildHost(_random.Next()));
        _vcpu.Save(_state);
        _xsave = _state.Xsave;
        _kicks = new Timer(_ => _vcpu.Kick(), null, KickEveryMs, KickEveryMs);
    }

    /// <summary>
    /// Instructions executed, or at fault, at the least: every entry into host code that a TLB miss does not cut short gets one done. The
    /// others of each block, and of those that are chained to it, are not counted.
    /// </summary>
    public long Executed => Count("exits to the monitor") - Count("  for miss");

    /// <summary>Undoes what was written, then runs from one random state after the other, each to its halt, shutdown or kick.</summary>
    public void RunEpisode()
    {
        Restore();
        for (int hop = 0; hop < Hops; hop++)
        {
            WildTables.Randomise(_state, _mode, _random);
            RandomiseVectors();
            _state.Activity = ActivityState.Active;
            _vcpu.Load(_state);
            _vcpu.SingleStep = _random.Next(4) == 0 || s_care == "step";
            int steps = 0;
            string before = s_careful ? Describe() : "";
            while (_vcpu.Run() == VmExit.Debug && steps++ < MostSteps)
            {
                if (s_careful)
                {
                    CheckAfter(before);
                    before = Describe();
                }
            }

            if (s_careful)
            {
                CheckAfter(before);
            }

            _vcpu.SingleStep = false;
        }

        _vcpu.Save(_state);
    }

    private long Count(string statistic) => (long)_vm.Statistics.First(row => row.Name == statistic).Value;

    private static void Check(string where, Span<byte> canary)
    {
        int changed = canary.IndexOfAnyExcept(CanaryByte);
        Assert.True(changed < 0, changed < 0 ? "" : $"memory {where} changed, from {changed:X}: "
            + $"{Convert.ToHexString(canary[changed..Math.Min(changed + 64, canary.Length)])}; last at {canary.LastIndexOfAnyExcept(CanaryByte):X}");
    }

    private void CheckAfter(string before)
    {
        try
        {
            CheckCanaries();
        }
        catch (Exception)
        {
            Console.Error.WriteLine($"It was {before}; then {Describe()}");
            throw;
        }
    }

    /// <summary>Where the guest is and what it was about to execute.</summary>
    public string Describe()
    {
        _vcpu.Save(_state);
        SegmentState code = _state.Segments[1];
        Span<byte> bytes = stackalloc byte[15];
        _vcpu.ReadLinear(code.Base + _state.Rip, bytes);
        return $"CS {code.Selector:X}:{_state.Rip:X} attributes {code.Attributes:X}, code {Convert.ToHexString(bytes)}";
    }

    /// <summary>Fails if a byte changed that is not the guest's.</summary>
    public void CheckCanaries()
    {
        Check("before RAM", new Span<byte>(_block, CanaryLength));
        Check("behind RAM", new Span<byte>(_block + CanaryLength + RamLength, CanaryLength));
        if (_low != null)
        {
            Check($"of the host at {LowCanary:X}", new Span<byte>(_low, CanaryLength));
        }

        if (_mode is WildMode.User or WildMode.Compatibility)
        {
            // Ring 3 has no way to the kernel's pages, or to those that it may only read.
            ReadOnlySpan<byte> now = new(_block + CanaryLength, RamLength);
            Assert.True(now[WildTables.Kernel].SequenceEqual(_image.AsSpan()[WildTables.Kernel]), "ring 3 changed the kernel's memory");
            Assert.True(now[WildTables.ReadOnly].SequenceEqual(_image.AsSpan()[WildTables.ReadOnly]), "ring 3 changed read-only memory");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        using var stopped = new ManualResetEvent(false);
        _kicks.Dispose(stopped);
        stopped.WaitOne();
        _vm.Dispose();
        _memory.Dispose();
        NativeMemory.AlignedFree(_block);
        if (_low != null)
        {
            Unmap(_low, CanaryLength);
        }
    }

    // What the last episode wrote is undone through the engine, which may hold translations of it.
    private void Restore()
    {
        _memory.Write(0, _image.AsSpan(0, WildTables.Length));
        WildTables.Initialise(_state, WildMode.Kernel);
        _vcpu.Load(_state);
        ReadOnlySpan<byte> now = new(_block + CanaryLength, RamLength);
        for (int page = 0; page < RamLength; page += 4096)
        {
            ReadOnlySpan<byte> wanted = _image.AsSpan(page, 4096);
            if (!now.Slice(page, 4096).SequenceEqual(wanted))
            {
                Assert.True(_vcpu.WriteLinear(WildTables.System + (ulong)page, wanted));
            }
        }
    }

    private void RandomiseVectors()
    {
        _xsave.AsSpan().Clear();
        _random.NextBytes(_xsave.AsSpan(160, 256));
        BitConverter.TryWriteBytes(_xsave, (ushort)(_random.Next(4) == 0 ? _random.Next(0x1000) : 0x37F));
        BitConverter.TryWriteBytes(_xsave.AsSpan(24), _random.Next(4) == 0 ? _random.Next(0x10000) : 0x1F80);
        _xsave[512] = 7;
        _state.Xsave = _xsave;
    }

    private static byte* MapLow()
    {
        const int ReadWrite = 3;
        const int PrivateAnonymousNoReplace = 0x2 | 0x20 | 0x10_0000;

        // SAFETY: MAP_FIXED_NOREPLACE fails rather than replace what is there.
        nint address = Map((nint)LowCanary, CanaryLength, ReadWrite, PrivateAnonymousNoReplace, -1, 0);
        if (address != (nint)LowCanary)
        {
            if (address != -1)
            {
                Unmap((byte*)address, CanaryLength);
            }

            return null;
        }

        new Span<byte>((void*)address, CanaryLength).Fill(CanaryByte);
        return (byte*)address;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(byte* address, nuint length);
}
