using Iced.Intel;
using Yadokari.X86;

namespace Yadokari.Translation.Code;

/// <summary>
/// SYSCALL and SYSRET between 64-bit code of CPL 3 and 0. Translated code changes flags, selectors and the level in the vCPU state, from which C#
/// takes them at the next exit (<see cref="VcpuState.FastCallLevel"/>). It looks the target up in the jump cache of the other level.
/// </summary>
internal sealed unsafe partial class Translator
{
    private static readonly int s_efer = StateLayout.Of(nameof(VcpuState.Efer));
    private static readonly int s_star = StateLayout.Of(nameof(VcpuState.Star));
    private static readonly int s_lstar = StateLayout.Of(nameof(VcpuState.Lstar));
    private static readonly int s_fmask = StateLayout.Of(nameof(VcpuState.Fmask));
    private static readonly int s_fastCallLevel = StateLayout.Of(nameof(VcpuState.FastCallLevel));
    private static readonly int s_systemCalls = StateLayout.Of(nameof(VcpuState.SystemCalls));
    private static readonly int s_directWanted = StateLayout.Of(nameof(VcpuState.DirectWanted));

    // SDM 2B SYSCALL. IA32_FMASK must clear AC, which is part of the kernel's mode, and the arithmetic flags.
    private void EmitSyscall(in Instruction instruction)
    {
        _a.PushFlags();
        _a.Pop(Host.R15);
        SaveFlags();
        _a.Test32(Mem.State(s_efer), (int)Efer.SCE);
        EmulateIf(Condition.Equal, instruction);
        _a.Load(Host.Rbp, Mem.State(s_fmask));
        _a.Not(Host.Rbp);
        _a.Test(Host.Rbp, ArithmeticFlags | FlagAlignment);
        EmulateIf(Condition.NotEqual, instruction);

        _a.Arithmetic32(Alu.And, Host.R15, ArithmeticFlags);
        _a.Arithmetic32(Alu.Or, Host.R15, Mem.State(s_systemFlags));
        _a.Arithmetic32(Alu.And, Host.R15, PushedFlags);
        SetGuest(11, Host.R15);
        _a.Arithmetic(Alu.And, Host.Rbp, Mem.State(s_systemFlags));
        _a.Arithmetic32(Alu.Or, Host.Rbp, FlagFixed);
        _a.Store(Mem.State(s_systemFlags), Host.Rbp);
        EmitLinear(Host.Rcx, instruction.NextIP);
        _a.Load32(Host.R15, Mem.State(s_star + 4));
        _a.Arithmetic32(Alu.And, Host.R15, 0xFFFC);
        EmitSelectors(stack: 8, level: 0);
        _a.Arithmetic32(Alu.Add, Mem.State(s_systemCalls), 1);
        _a.MoveImmediate(Host.Rax, FlagFixed << 8);
        _a.Load(Host.R15, Mem.State(s_lstar));
        _mode &= ~CpuMode.User;
        EmitDropCalls();
        EmitLookup();
    }

    // SDM 2B SYSRET, if the new flags do not change the mode of blocks.
    private void EmitSysret(in Instruction instruction)
    {
        SaveFlags();
        _a.Test32(Mem.State(s_efer), (int)Efer.SCE);
        EmulateIf(Condition.Equal, instruction);
        _a.Move(Host.R15, Host.Rcx);
        _a.ShiftLeft(Host.R15, 16);
        _a.ShiftRightSigned(Host.R15, 16);
        _a.Compare(Host.R15, Host.Rcx);
        EmulateIf(Condition.NotEqual, instruction);
        Host flags = Get(11, Host.R15);
        if (flags != Host.R15)
        {
            _a.Move(Host.R15, flags);
        }

        _a.Test(Host.R15, ~(ArithmeticFlags | FlagInterrupt | FlagFixed));
        EmulateIf(Condition.NotEqual, instruction);
        EmulateIfInterrupted(instruction);
        _a.Arithmetic32(Alu.Cmp, Mem.State(s_directWanted), 0);
        EmulateIf(Condition.NotEqual, instruction);

        EmitPoppedFlags();
        _a.Arithmetic32(Alu.Or, Host.R15, FlagFixed);
        _a.Store(Mem.State(s_systemFlags), Host.R15);
        _a.LoadZero16(Host.R15, Mem.State(s_star + 6));
        _a.Lea32(Host.R15, Mem.At(Host.R15, 16));
        EmitSelectors(stack: -8, level: 3);
        _a.Move(Host.R15, Host.Rcx);
        _mode = (_mode | CpuMode.User) & ~CpuMode.SupervisorAc;
        EmitDropCalls();
        EmitLookup();
    }

    // CS is in r15, without its RPL; stack is the distance from CS to SS.
    private void EmitSelectors(int stack, int level)
    {
        if (level != 0)
        {
            _a.Arithmetic32(Alu.Or, Host.R15, level);
        }

        _a.Store16(Mem.State(StateLayout.Selector(1)), Host.R15);
        _a.Lea32(Host.R15, Mem.At(Host.R15, stack));
        if (level != 0)
        {
            _a.Arithmetic32(Alu.Or, Host.R15, level);
        }

        _a.Store16(Mem.State(StateLayout.Selector(2)), Host.R15);
        _a.StoreImmediate32(Mem.State(s_fastCallLevel), level + 1);
    }

    private void SetGuest(int guest, Host from)
    {
        Host to = GuestRegisters.HostOf(guest);
        if (to == Host.None)
        {
            _a.Store(Mem.State(StateLayout.Gpr(guest)), from);
        }
        else
        {
            _a.Move(to, from);
        }
    }
}
