using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Yadokari.X86;

namespace Yadokari.Translation.Code;

/// <summary>
/// Sensitive instructions whose common case is expanded in translated code. Other cases exit for emulation; that is decided before any guest register
/// changes.
/// </summary>
internal sealed unsafe partial class Translator
{
    private const int ArithmeticFlags = (int)Vcpu.ArithmeticFlags;
    private const int FlagFixed = 1 << 1;
    private const int FlagInterrupt = 1 << 9;
    private const int FlagAlignment = 1 << 18;

    // PUSHF pushes VM and RF as 0: SDM 2B PUSHF.
    private const int PushedFlags = 0xFCFFFF;

    private static readonly int s_systemFlags = StateLayout.Of(nameof(VcpuState.SystemFlags));
    private static readonly int s_cr4 = StateLayout.Of(nameof(VcpuState.Cr4));
    private static readonly int s_kernelGsBase = StateLayout.Of(nameof(VcpuState.KernelGsBase));

    private void EmitInline(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq:
                EmitMovs(instruction);
                break;
            case Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq:
                EmitStos(instruction);
                break;
            case Mnemonic.Cli:
                SaveLiveFlags();
                _a.Arithmetic32(Alu.And, Mem.State(s_systemFlags), ~FlagInterrupt);
                break;
            case Mnemonic.Sti:
                EmitSti(instruction);
                break;
            case Mnemonic.Pushfq:
                EmitPushFlags();
                break;
            case Mnemonic.Popfq:
                EmitPopFlags(instruction);
                break;
            case Mnemonic.Clac:
                // Without SMAP, or if AC does not change, the mode of blocks does not change.
                SaveLiveFlags();
                _a.Arithmetic32(Alu.And, Mem.State(s_systemFlags), ~FlagAlignment);
                _mode &= ~CpuMode.SupervisorAc;
                break;
            case Mnemonic.Stac:
                EmitStac(instruction);
                break;
            case Mnemonic.Swapgs:
                _a.Load(Host.Rbp, Mem.State(StateLayout.SegmentBase(5)));
                _a.Load(Host.R15, Mem.State(s_kernelGsBase));
                _a.Store(Mem.State(s_kernelGsBase), Host.Rbp);
                _a.Store(Mem.State(StateLayout.SegmentBase(5)), Host.R15);
                break;
            case Mnemonic.Rdtsc or Mnemonic.Rdtscp:
                EmitTsc(instruction);
                break;
            case Mnemonic.Mov:
                EmitMoveSystem(instruction);
                break;
            default:
                EmitSegmentBase(instruction);
                break;
        }
    }

    private void SaveLiveFlags()
    {
        if (FlagsLive)
        {
            SaveFlags();
        }
    }

    /// <summary>Exits for emulation if the condition holds.</summary>
    private void EmulateIf(Condition condition, in Instruction instruction)
    {
        _emulated.Add(instruction);
        AddCold(SiteKind.Emulate, _a.Jump(condition, _a.Cursor), instruction.IP, _emulated.Count - 1);
    }

    /// <summary>Exits for emulation if an interrupt may be pending. Flags must be saved.</summary>
    private void EmulateIfInterrupted(in Instruction instruction)
    {
        // Compares the adjacent fields Pending and InterruptWaiting at once.
        _a.Arithmetic(Alu.Cmp, Mem.State(s_pending), 0);
        EmulateIf(Condition.NotEqual, instruction);
    }

    // Interrupts are blocked for one instruction after STI (SDM 2B STI): the next instruction is in the same block, without a poll between.
    private void EmitSti(in Instruction instruction)
    {
        if (_current == _builder.Count - 1)
        {
            EmitEmulate(instruction);
            return;
        }

        SaveLiveFlags();
        EmulateIfInterrupted(instruction);
        _a.Arithmetic32(Alu.Or, Mem.State(s_systemFlags), FlagInterrupt);
    }

    private void EmitStac(in Instruction instruction)
    {
        SaveLiveFlags();
        if ((_mode & CpuMode.SupervisorAc) == 0)
        {
            // Without SMAP, AC does not change the mode of blocks: that is rare, so it is emulated.
            _a.Test32(Mem.State(s_cr4), (int)Cr4.SMAP);
            EmulateIf(Condition.Equal, instruction);
        }

        _a.Arithmetic32(Alu.Or, Mem.State(s_systemFlags), FlagAlignment);
        _mode |= CpuMode.SupervisorAc;
    }

    private void EmitPushFlags()
    {
        // The host's arithmetic flags are the guest's; its other flags are not.
        _a.PushFlags();
        _a.Pop(Host.R15);
        SaveFlags();
        _a.Arithmetic32(Alu.And, Host.R15, ArithmeticFlags);
        _a.Arithmetic32(Alu.Or, Host.R15, Mem.State(s_systemFlags));
        _a.Arithmetic32(Alu.And, Host.R15, PushedFlags);
        _a.Store(Mem.State(s_spare), Host.R15);
        _a.Lea(Host.Rbp, Mem.At(Host.R10, -8));
        EmitCheck(8, write: true, keepSaved: true);
        _a.Load(Host.R15, Mem.State(s_spare));
        _a.Store(Mem.At(Host.Rbp), Host.R15);
        _a.Lea(Host.R10, Mem.At(Host.R10, -8));
        if (_builder.LiveBefore(_current + 1) == 0)
        {
            _a.Load(Host.Rax, Mem.State(s_saveRax));
            _axSaved = false;
        }
    }

    // POPF that changes only the arithmetic flags and IF.
    private void EmitPopFlags(in Instruction instruction)
    {
        SaveFlags();
        _a.Move(Host.Rbp, Host.R10);
        EmitCheck(8, write: false, keepSaved: true);
        _a.Load(Host.R15, Mem.At(Host.Rbp));
        _a.Move(Host.Rbp, Host.R15);
        _a.Arithmetic(Alu.Xor, Host.Rbp, Mem.State(s_systemFlags));
        _a.Test(Host.Rbp, ~(ArithmeticFlags | FlagInterrupt));
        EmulateIf(Condition.NotEqual, instruction);
        EmulateIfInterrupted(instruction);

        EmitPoppedFlags();
        _a.Store(Mem.State(s_systemFlags), Host.R15);
        _a.Lea(Host.R10, Mem.At(Host.R10, 8));
    }

    // Moves the arithmetic flags in r15 to AX: AH is the low byte, AL is OF.
    private void EmitPoppedFlags()
    {
        _a.MoveZero8(Host.Rax, Host.R15);
        _a.ShiftLeft32(Host.Rax, 8);
        _a.Move32(Host.Rbp, Host.R15);
        _a.ShiftRight32(Host.Rbp, 11);
        _a.Arithmetic32(Alu.And, Host.Rbp, 1);
        _a.Lea32(Host.Rax, new Mem(Host.Rax, Host.Rbp, 1, 0, false));
        _a.Arithmetic32(Alu.And, Host.R15, ~ArithmeticFlags);
    }

    // MOV from a segment register or a control register, to a general register.
    private void EmitMoveSystem(in Instruction instruction)
    {
        int guest = GuestRegisters.Number(instruction.Op0Register);
        Register from = instruction.Op1Register;
        _a.Load(Host.R15, Mem.State(from.IsSegmentRegister() ? StateLayout.Selector(from - Register.ES) : ControlRegister(from)));
        if (!from.IsSegmentRegister())
        {
            SetGuest(guest, Host.R15);
            return;
        }

        Host to = GuestRegisters.HostOf(guest);
        if (!instruction.Op0Register.IsGPR16())
        {
            _a.MoveZero16(Host.R15, Host.R15);
            SetGuest(guest, Host.R15);
        }
        else if (to == Host.None)
        {
            _a.Store16(Mem.State(StateLayout.Gpr(guest)), Host.R15);
        }
        else
        {
            _a.Move16(to, Host.R15);
        }
    }

    private static int ControlRegister(Register register) => StateLayout.Of(register switch
    {
        Register.CR0 => nameof(VcpuState.Cr0),
        Register.CR2 => nameof(VcpuState.Cr2),
        Register.CR3 => nameof(VcpuState.Cr3),
        _ => nameof(VcpuState.Cr4),
    });

    private void EmitTsc(in Instruction instruction)
    {
        if ((_mode & CpuMode.User) != 0)
        {
            SaveLiveFlags();
            _a.Test32(Mem.State(s_cr4), (int)Cr4.TSD);
            EmulateIf(Condition.NotEqual, instruction);
            RestoreFlagsIfSaved();
        }

        bool processor = instruction.Mnemonic == Mnemonic.Rdtscp;
        if (processor)
        {
            // RDTSCP waits for earlier instructions.
            _a.LoadFence();
        }

        // All of these instructions preserve flags.
        _a.ReadTsc();
        _a.Rorx64(Host.Rdx, Host.Rdx, 32);
        _a.Lea(Host.Rax, new Mem(Host.Rax, Host.Rdx, 1, 0, false));
        _a.Load(Host.Rdx, Mem.State(StateLayout.Of(nameof(VcpuState.TscOffset))));
        _a.Lea(Host.Rax, new Mem(Host.Rax, Host.Rdx, 1, 0, false));
        _a.Rorx64(Host.Rdx, Host.Rax, 32);
        _a.Move32(Host.Rdx, Host.Rdx);
        _a.Move32(Host.Rax, Host.Rax);
        if (processor)
        {
            _a.Load32(Host.Rcx, Mem.State(StateLayout.Of(nameof(VcpuState.TscAux))));
        }
    }

    private void EmitSegmentBase(in Instruction instruction)
    {
        int guest = GuestRegisters.Number(instruction.Op0Register);
        Host host = GuestRegisters.HostOf(guest);
        bool wide = instruction.Op0Register.IsGPR64();
        bool write = instruction.Mnemonic is Mnemonic.Wrfsbase or Mnemonic.Wrgsbase;
        Mem segment = Mem.State(StateLayout.SegmentBase(instruction.Mnemonic is Mnemonic.Rdfsbase or Mnemonic.Wrfsbase ? 4 : 5));
        if (write)
        {
            Host from = Get(guest, Host.Rbp);
            if (wide)
            {
                _a.Move(Host.Rbp, from);
            }
            else
            {
                _a.Move32(Host.Rbp, from);
            }
        }

        SaveLiveFlags();
        _a.Test32(Mem.State(s_cr4), (int)Cr4.FSGSBASE);
        EmulateIf(Condition.Equal, instruction);
        if (write && wide)
        {
            // An address is canonical if it equals its low 48 bits, sign-extended.
            _a.Move(Host.R15, Host.Rbp);
            _a.ShiftLeft(Host.R15, 16);
            _a.ShiftRightSigned(Host.R15, 16);
            _a.Compare(Host.R15, Host.Rbp);
            EmulateIf(Condition.NotEqual, instruction);
        }

        RestoreFlagsIfSaved();
        if (write)
        {
            _a.Store(segment, Host.Rbp);
            return;
        }

        Host to = host == Host.None ? Host.Rbp : host;
        if (wide)
        {
            _a.Load(to, segment);
        }
        else
        {
            _a.Load32(to, segment);
        }

        if (host == Host.None)
        {
            _a.Store(Mem.State(StateLayout.Gpr(guest)), to);
        }
    }

    /// <summary>JRCXZ, JECXZ, LOOP: none of them reads or writes flags.</summary>
    private void EmitCountedBranch(in Instruction instruction)
    {
        bool loop = instruction.Mnemonic == Mnemonic.Loop;
        ulong zero = loop ? instruction.NextIP : TreatmentRules.TargetOf(instruction, _mode);
        ulong other = loop ? TreatmentRules.TargetOf(instruction, _mode) : instruction.NextIP;
        if (loop)
        {
            _a.Lea(Host.Rcx, Mem.At(Host.Rcx, -1));
        }

        byte* isZero = _a.JumpRcxZero(instruction.Mnemonic == Mnemonic.Jecxz);
        byte* isOther = _a.Jump(_a.Cursor);
        _a.PatchShort(isZero);
        EmitJump(zero, backward: zero <= instruction.IP);
        HostAssembler.Patch(isOther, _a.Cursor);
        EmitJump(other, backward: other <= instruction.IP);
    }
}
