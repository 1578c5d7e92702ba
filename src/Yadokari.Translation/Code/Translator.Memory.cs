using System.Runtime.Intrinsics.X86;
using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>Addresses and the inline software TLB.</summary>
internal sealed unsafe partial class Translator
{
    private static readonly int s_codePage = StateLayout.Of(nameof(VcpuState.CodePage));
    private static readonly int s_saveRax = StateLayout.Of(nameof(VcpuState.SaveRax));
    private static readonly int s_spare = StateLayout.Of(nameof(VcpuState.SaveRcx));
    private static readonly int s_pending = StateLayout.Of(nameof(VcpuState.Pending));
    private static readonly int s_extendedAway = StateLayout.Of(nameof(VcpuState.ExtendedAway));
    private static readonly int s_simdLive = StateLayout.Of(nameof(VcpuState.SimdLive));

    /// <summary>
    /// Whether the guest's flags may stay in AX while an instruction runs: it uses neither RAX nor flags, or handles them itself.
    /// </summary>
    private bool KeepsSaved(in Instruction instruction) => TreatmentOf(instruction) switch
    {
        Treatment.Nothing or Treatment.Emulate => true,
        Treatment.Native or Treatment.Stack or Treatment.Address => _use.IsIndifferentToFlagsAndRax(instruction),
        Treatment.Flow => !instruction.IsJccShortOrNear && instruction.Mnemonic is not (Mnemonic.Jrcxz or Mnemonic.Jecxz or Mnemonic.Loop)
            && _use.IsIndifferentToFlagsAndRax(instruction),
        _ => false,
    };

    private bool FlagsLive => !_axSaved && _builder.LiveBefore(_current) != 0;

    private void SaveFlags()
    {
        if (!_axSaved)
        {
            _a.Store(Mem.State(s_saveRax), Host.Rax);
            _a.SaveFlagsInAx();
            _axSaved = true;
        }
    }

    private void RestoreFlags(int live = FlagLiveness.AllFlags)
    {
        if (live != 0)
        {
            _a.RestoreFlagsFromAx();
        }

        _a.Load(Host.Rax, Mem.State(s_saveRax));
        _axSaved = false;
    }

    private void RestoreFlagsIfSaved()
    {
        if (_axSaved)
        {
            RestoreFlags();
        }
    }

    /// <summary>A guest register as a host register: its own, or the given scratch register loaded from its slot.</summary>
    private Host Get(int guest, Host scratch)
    {
        Host host = GuestRegisters.HostOf(guest);
        if (host != Host.None)
        {
            return host;
        }

        _a.Load(scratch, Mem.State(StateLayout.Gpr(guest)));
        return scratch;
    }

    /// <summary>
    /// Computes the linear address of an instruction's memory operand in <paramref name="into"/>. Preserves flags; but if the limit of the segment
    /// is checked for an access of <paramref name="size"/> bytes, they may be saved in AX afterwards.
    /// </summary>
    private void EmitAddress(in Instruction instruction, Host into, bool withSegment = true, int size = 0, bool write = false)
    {
        Register baseRegister = instruction.MemoryBase;
        Register indexRegister = instruction.MemoryIndex;
        ulong displacement = instruction.MemoryDisplacement64;
        int width = baseRegister.IsGPR64() || indexRegister.IsGPR64() || baseRegister == Register.RIP ? 64
            : baseRegister.IsGPR32() || indexRegister.IsGPR32() || baseRegister == Register.EIP ? 32
            : baseRegister.IsGPR16() || indexRegister.IsGPR16() ? 16
            : instruction.MemoryDisplSize switch { 8 => 64, 2 => 16, _ => Code64 ? 64 : 32 };

        if (baseRegister is Register.RIP or Register.EIP)
        {
            EmitLinear(into, displacement);
            if (width == 32)
            {
                _a.Move32(into, into);
            }
        }
        else if (baseRegister == Register.None && indexRegister == Register.None)
        {
            _a.MoveImmediate(into, width switch { 64 => displacement, 32 => (uint)displacement, _ => (ushort)displacement });
        }
        else
        {
            Host other = into == GuestRegisters.Address ? GuestRegisters.Scratch : GuestRegisters.Address;
            Host b = baseRegister == Register.None ? Host.None : Get(GuestRegisters.Number(baseRegister), into);
            Host x = indexRegister == Register.None ? Host.None : Get(GuestRegisters.Number(indexRegister), b == into ? other : into);
            int scale = indexRegister == Register.None ? 1 : instruction.MemoryIndexScale;
            var mem = new Mem(b, x, (byte)scale, (int)displacement, false);
            if (width != 64)
            {
                _a.Lea32(into, mem);
                if (width == 16)
                {
                    _a.MoveZero16(into, into);
                }
            }
            else if (x == Host.None && displacement == 0)
            {
                if (b != into)
                {
                    _a.Move(into, b);
                }
            }
            else
            {
                _a.Lea(into, mem);
            }
        }

        if (!withSegment)
        {
            return;
        }

        Register segment = instruction.MemorySegment;
        if (size != 0 && TreatmentRules.HasLimit(segment, _mode))
        {
            EmitLimitCheck(segment - Register.ES, size, write);
        }

        if (segment is Register.FS or Register.GS || (_mode & CpuMode.Based) != 0)
        {
            Host other = into == GuestRegisters.Address ? GuestRegisters.Scratch : GuestRegisters.Address;
            _a.Load(other, Mem.State(StateLayout.SegmentBase(segment - Register.ES)));
            var sum = new Mem(into, other, 1, 0, false);
            if (Code64)
            {
                _a.Lea(into, sum);
            }
            else
            {
                _a.Lea32(into, sum);
            }
        }
    }

    /// <summary>Exits if an access at the offset in rbp does not end within the limit of its segment. Uses r15.</summary>
    private void EmitLimitCheck(int segment, int size, bool write)
    {
        if (FlagsLive)
        {
            SaveFlags();
        }

        _a.Lea(Host.R15, Mem.At(Host.Rbp, size));
        _a.Arithmetic(Alu.Cmp, Host.R15, Mem.State(StateLayout.SegmentEnd(segment, write)));
        ref ColdExit exit = ref AddCold(SiteKind.Limit, _a.Jump(Condition.Above, _a.Cursor), _builder[_current].IP);
        exit.Size = (byte)Math.Min(size, byte.MaxValue);
        exit.Write = write;
    }

    /// <summary>Computes a constant linear address, relative to the code page in position-independent blocks.</summary>
    private void EmitLinear(Host into, ulong linear)
    {
        if (!PositionIndependent)
        {
            _a.MoveImmediate(into, linear);
            return;
        }

        long delta = (long)(linear - _page);
        _a.Load(into, Mem.State(s_codePage));
        while (delta != 0)
        {
            int step = (int)Math.Clamp(delta, int.MinValue, int.MaxValue);
            _a.Lea(into, Mem.At(into, step));
            delta -= step;
        }

        if (!Code64)
        {
            _a.Move32(into, into);
        }
    }

    /// <summary>
    /// Translates the linear address in rbp to a host address in rbp, or exits by a TLB miss. Uses r15. Afterwards flags are as before, or saved in
    /// AX if <paramref name="keepSaved"/> is set or the instruction does not use them.
    /// </summary>
    private void EmitCheck(int size, bool write, bool keepSaved = false)
    {
        if (FlagsLive)
        {
            SaveFlags();
        }

        int tlb = StateLayout.Tlb + (((TlbKind * 2) + (write ? 1 : 0)) * StateLayout.TlbBytes);
        if (Bmi2.IsSupported)
        {
            _a.Rorx32(Host.R15, Host.Rbp, 8);
        }
        else
        {
            _a.Move32(Host.R15, Host.Rbp);
            _a.ShiftRight32(Host.R15, 8);
        }

        _a.Arithmetic32(Alu.And, Host.R15, (StateLayout.TlbEntries - 1) << 4);
        _a.Arithmetic(Alu.Add, Host.Rbp, Mem.State(Host.R15, tlb));
        _a.Arithmetic(Alu.Cmp, Host.Rbp, 4096 - size);
        ref ColdExit miss = ref AddCold(SiteKind.Miss, _a.Jump(Condition.Above, _a.Cursor), _builder[_current].IP);
        miss.Resume = _resume;
        miss.ResumeAx = _resumeAx;
        miss.Size = (byte)size;
        miss.Write = write;
        miss.Tlb = tlb;
        _a.Arithmetic(Alu.Add, Host.Rbp, Mem.State(Host.R15, tlb + 8));
        ref readonly Instruction instruction = ref _builder[_current];
        if (!keepSaved && _axSaved && !KeepsSaved(instruction))
        {
            RestoreFlags(FlagLiveness.FaultsByItself(instruction)
                ? FlagLiveness.AllFlags : FlagLiveness.Through(instruction, _builder.LiveBefore(_current + 1)));
        }
    }

    /// <summary>
    /// Loads the host address of the run's range into rbp, if it is not there. Returns the distance from rbp to an access at a displacement.
    /// </summary>
    private int SharedDisplacement(int displacement)
    {
        ref SharedRun run = ref _shared.Run;
        Mem kept = Mem.State(StateLayout.SharedAddress(_shared.Number));
        if (!run.Checked)
        {
            Host register = Get(run.Base, Host.Rbp);
            _a.Lea(Host.Rbp, Mem.At(register, run.Low));
            EmitCheck(run.High - run.Low, run.Writes);
            _builder.LastExit.Extra = run.End - _current;
            _builder.LastExit.Base = (byte)run.Base;
            if (run.Kept)
            {
                _a.Store(kept, Host.Rbp);
            }

            run.Checked = true;
        }
        else if (!_shared.IsInAddress)
        {
            _a.Load(Host.Rbp, kept);
        }

        _shared.IsInAddress = true;
        return run.Delta + displacement - run.Low;
    }
}
