using Yadokari.Translation.Code;
using Yadokari.Translation.Memory;
using static Yadokari.Translation.Emulation.Operands;

namespace Yadokari.Translation;

/// <summary>
/// The mode for which blocks are translated. It is computed again after <see cref="Changed"/>, which must be called when anything that it depends
/// on changes. Flushes the jump caches when the mode changes to one that they do not distinguish. On the vCPU's thread.
/// </summary>
internal sealed unsafe class BlockMode(Vcpu cpu, Tlb tlb)
{
    private CpuMode _current;
    private bool _stale = true;

    // RFLAGS when the mode was computed; translated code can change AC.
    private ulong _flags;

    /// <summary>The current mode.</summary>
    public CpuMode Current => _stale ? Find() : _current;

    /// <summary>Must be called when CR0, CR4, EFER, XCR0, CPL, segments, system flags, breakpoints or single stepping change.</summary>
    public void Changed() => _stale = true;

    /// <summary>Must be called after translated code ran, which may have executed STAC or CLAC.</summary>
    public void NoteFlags() => _stale |= ((cpu.State->SystemFlags ^ _flags) & FlagAlignment) != 0;

    private CpuMode Find()
    {
        _stale = false;
        _flags = cpu.State->SystemFlags;
        CpuMode mode = CpuMode.None;
        ulong flags = cpu.State->SystemFlags;
        if (cpu.Code64)
        {
            mode |= CpuMode.Code64 | CpuMode.Protected;
        }
        else
        {
            mode |= cpu.Segments.IsCode32 ? CpuMode.Code32 : 0;
            mode |= (cpu.Segments[2].Attributes & 0x4000) != 0 ? CpuMode.Stack32 : 0;
            mode |= cpu.ProtectedMode ? CpuMode.Protected : 0;
            mode |= cpu.Segments.AreBased ? CpuMode.Based : 0;
            mode |= cpu.Segments.FindEnds() || cpu.Segments.CodeLimit != uint.MaxValue ? CpuMode.Limited : 0;
        }

        if (cpu.Cpl is 1 or 2)
        {
            // CPL 1 and 2: the shortcuts of translated code for the supervisor and the user are not valid for them.
            mode |= CpuMode.Single;
        }

        if (cpu.Cpl == 3)
        {
            mode |= CpuMode.User;
        }
        else if ((flags & (1ul << 18)) != 0 && (cpu.Cr4 & X86.Cr4.SMAP) != 0)
        {
            mode |= CpuMode.SupervisorAc;
        }

        if ((flags & (1ul << 10)) != 0)
        {
            mode |= CpuMode.Down;
        }

        if ((flags & FlagTrap) != 0 || cpu.IsDebugged || cpu.Debugging.HasBreakpoints)
        {
            mode |= CpuMode.Single;
        }
        else
        {
            // The next instruction clears RF, and without breakpoints it has no effect.
            cpu.State->SystemFlags &= ~FlagResume;
        }

        if ((cpu.Cr0 & X86.Cr0.TS) != 0)
        {
            mode |= CpuMode.SimdTrap;
        }

        if ((cpu.Cr0 & X86.Cr0.EM) != 0)
        {
            mode |= CpuMode.EmulationTrap;
        }

        if ((cpu.Cr4 & X86.Cr4.OSFXSR) == 0)
        {
            mode |= CpuMode.SseTrap;
        }

        if ((cpu.Cr4 & X86.Cr4.OSXSAVE) == 0 || (cpu.Xcr0 & 6) != 6)
        {
            mode |= CpuMode.AvxTrap | CpuMode.Avx512Trap;
        }
        else if ((cpu.Xcr0 & 0xE0) != 0xE0)
        {
            mode |= CpuMode.Avx512Trap;
        }

        const CpuMode Traps = CpuMode.SimdTrap | CpuMode.EmulationTrap | CpuMode.SseTrap | CpuMode.AvxTrap | CpuMode.Avx512Trap;
        if (((mode ^ _current) & Traps) != 0)
        {
            // The jump caches do not distinguish such modes.
            tlb.FlushJumps();
        }

        return _current = mode;
    }
}
