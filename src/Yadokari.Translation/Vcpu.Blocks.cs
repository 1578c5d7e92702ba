using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation;

/// <summary>Which block to run: the one at RIP, in the mode that the processor is in.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Decodes the instruction at RIP, or raises the fault its fetch meets.</summary>
    internal bool Fetch(out Instruction instruction)
    {
        instruction = default;
        ulong linear = LinearRip;
        Span<byte> bytes = stackalloc byte[16];
        int first = (int)Math.Min(16, 4096 - (linear & 4095));
        if (!ReadCode(linear, bytes[..first]))
        {
            return false;
        }

        instruction = _code.Translator.Decoder.Decode(bytes[..first], CurrentMode(), linear);
        if (first < 16 && !_code.Translator.Decoder.IsWhole)
        {
            if (!ReadCode(linear + (ulong)first, bytes[first..]))
            {
                return false;
            }

            instruction = _code.Translator.Decoder.Decode(bytes, CurrentMode(), linear);
        }

        return true;
    }

    /// <summary>The block at RIP, translated if need be. Null: an exception was raised.</summary>
    private Block? FindBlock(CpuMode mode)
    {
        ulong linear = LinearRip;
        State->CodePage = linear & ~0xFFFul;
        if ((mode & CpuMode.Limited) != 0 && !IsWithinSegment(linear, ref mode))
        {
            return null;
        }

        if (!Mmu.TranslateFetch(linear, out ulong gpa))
        {
            return null;
        }

        Block? block = _code.Find(gpa, linear, mode);
        if (block != null && block.SecondGpa == 0)
        {
            return block;
        }

        if (_memory.HostAddress(gpa & ~0xFFFul, 4096) == 0)
        {
            // Code is fetched from RAM only.
            Raise(Vector.GeneralProtection, 0);
            return null;
        }

        if (block == null && _code.Translate(gpa, 0, linear, mode) is { } fresh)
        {
            return fresh;
        }

        Crossings++;

        // The instruction crosses into the next page: what stands there decides each time which block it is.
        bool global = Mmu.FetchIsGlobal;
        if (!Mmu.TranslateFetch((linear & ~0xFFFul) + 4096, out ulong second))
        {
            return null;
        }

        bool secondGlobal = Mmu.FetchIsGlobal;
        Mmu.FetchIsGlobal = global;
        if (block != null && block.SecondGpa == second)
        {
            if (secondGlobal || !block.SecondGlobal)
            {
                return block;
            }

            // It relies on a global page, which this is not any more.
            _code.Drop(block);
        }

        if (_memory.HostAddress(second, 4096) == 0)
        {
            Raise(Vector.GeneralProtection, 0);
            return null;
        }

        return _code.Translate(gpa, second, linear, mode, _tlb.FetchEpoch(secondGlobal), secondGlobal);
    }

    /// <summary>
    /// Whether the instruction at RIP ends within the code segment; if not, #GP is raised (SDM 3A 5.3). Near the segment's end, instructions
    /// run one by one, each looked at before: <paramref name="mode"/> says so.
    /// </summary>
    private bool IsWithinSegment(ulong linear, ref CpuMode mode)
    {
        ulong limit = Segments.CodeLimit;
        if (State->Rip > limit)
        {
            return Raise(Vector.GeneralProtection, 0) == Outcome.Next;
        }

        const ulong Longest = 15;
        ulong left = limit - State->Rip + 1;
        if (left >= 4096 - (linear & 4095) + Longest)
        {
            return true;
        }

        mode |= CpuMode.Single;
        if (left >= Longest)
        {
            return true;
        }

        // It is fetched no further than the segment goes, whatever the page after says.
        Span<byte> bytes = stackalloc byte[(int)left];
        int first = (int)Math.Min(left, 4096 - (linear & 4095));
        if (!ReadCode(linear, bytes[..first]) || !ReadCode(linear + (ulong)first, bytes[first..]))
        {
            return false;
        }

        return !_code.Translator.Decoder.GoesOn(bytes, mode) || Raise(Vector.GeneralProtection, 0) == Outcome.Next;
    }

    private bool ReadCode(ulong linear, Span<byte> bytes)
    {
        if (bytes.IsEmpty)
        {
            return true;
        }

        if (!Mmu.TranslateFetch(linear, out ulong gpa))
        {
            return false;
        }

        _memory.Read(gpa, bytes);
        return true;
    }

    internal void SetLinearRip(ulong linear)
    {
        if (Code64)
        {
            State->Rip = linear;
            return;
        }

        // Jumps of 16-bit code wrap around within their 64 KiB.
        uint rip = (uint)(linear - Segments[1].Base);
        State->Rip = !Segments.IsCode32 && Segments.CodeLimit <= 0xFFFF ? (ushort)rip : rip;
    }

    private CpuMode CurrentMode()
    {
        if (!_modeStale)
        {
            return _mode;
        }

        _modeStale = false;
        _modeFlags = State->SystemFlags;
        CpuMode mode = CpuMode.None;
        ulong flags = State->SystemFlags;
        if (Code64)
        {
            mode |= CpuMode.Code64 | CpuMode.Protected;
        }
        else
        {
            mode |= Segments.IsCode32 ? CpuMode.Code32 : 0;
            mode |= (Segments[2].Attributes & 0x4000) != 0 ? CpuMode.Stack32 : 0;
            mode |= ProtectedMode ? CpuMode.Protected : 0;
            mode |= Segments.AreBased ? CpuMode.Based : 0;
            mode |= Segments.FindEnds() || Segments.CodeLimit != uint.MaxValue ? CpuMode.Limited : 0;
        }

        if (Cpl is 1 or 2)
        {
            // Nobody's levels: neither the kernel's nor the user's short cuts fit them.
            mode |= CpuMode.Single;
        }

        if (Cpl == 3)
        {
            mode |= CpuMode.User;
        }
        else if ((flags & (1ul << 18)) != 0 && (Cr4 & X86.Cr4.SMAP) != 0)
        {
            mode |= CpuMode.SupervisorAc;
        }

        if ((flags & (1ul << 10)) != 0)
        {
            mode |= CpuMode.Down;
        }

        if ((flags & Operands.FlagTrap) != 0 || SingleStep || _breakpoints.Count != 0 || Debugging.HasBreakpoints)
        {
            mode |= CpuMode.Single;
        }
        else
        {
            // The next instruction would clear it; only breakpoints tell whether it was there.
            State->SystemFlags &= ~Operands.FlagResume;
        }

        if ((Cr0 & X86.Cr0.TS) != 0)
        {
            mode |= CpuMode.SimdTrap;
        }

        if ((Cr0 & X86.Cr0.EM) != 0)
        {
            mode |= CpuMode.EmulationTrap;
        }

        if ((Cr4 & X86.Cr4.OSFXSR) == 0)
        {
            mode |= CpuMode.SseTrap;
        }

        if ((Cr4 & X86.Cr4.OSXSAVE) == 0 || (Xcr0 & 6) != 6)
        {
            mode |= CpuMode.AvxTrap | CpuMode.Avx512Trap;
        }
        else if ((Xcr0 & 0xE0) != 0xE0)
        {
            mode |= CpuMode.Avx512Trap;
        }

        const CpuMode Traps = CpuMode.SimdTrap | CpuMode.EmulationTrap | CpuMode.SseTrap | CpuMode.AvxTrap | CpuMode.Avx512Trap;
        if (((mode ^ _mode) & Traps) != 0)
        {
            // The jump caches do not tell such modes apart.
            _tlb.FlushJumps();
        }

        return _mode = mode;
    }
}
