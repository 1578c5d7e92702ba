using Iced.Intel;
using Yadokari.X86;

namespace Yadokari.Translation;

/// <summary>
/// The guest's own debugging (SDM 3B 18.3): single steps by EFLAGS.TF, and breakpoints on execution in DR0 to DR3, both in blocks of one
/// instruction. Breakpoints on data and on ports are not watched.
/// </summary>
internal sealed unsafe partial class Vcpu
{
    private const ulong FlagTrap = 1ul << 8;
    private const ulong FlagResume = 1ul << 16;

    // The last instruction of this step that went to the emulator.
    private Mnemonic _emulated;

    /// <summary>Exceptions, interrupts and INT n delivered so far.</summary>
    internal long Deliveries { get; set; }

    /// <summary>Some of DR0 to DR3 is enabled for execution.</summary>
    private bool HasInstructionBreakpoints
    {
        get
        {
            for (int i = 0; i < 4; i++)
            {
                if (IsInstructionBreakpoint(i))
                {
                    return true;
                }
            }

            return false;
        }
    }

    private bool IsInstructionBreakpoint(int i) => (Dr[7] >> (2 * i) & 3) != 0 && (Dr[7] >> (16 + (4 * i)) & 3) == 0;

    /// <summary>
    /// Before an instruction: raises #DB if a breakpoint is set on it, unless RF lets it run this once (SDM 3B 18.3.1.1). RF has done its
    /// work then; a fault of the instruction sets it anew in what it pushes.
    /// </summary>
    private bool HitsBreakpoint()
    {
        bool resume = (State->SystemFlags & FlagResume) != 0;
        State->SystemFlags &= ~FlagResume;
        if (resume || (Dr[7] & DebugRegisters.Enables) == 0)
        {
            return false;
        }

        ulong linear = LinearRip;
        ulong hit = 0;
        for (int i = 0; i < 4; i++)
        {
            hit |= IsInstructionBreakpoint(i) && Dr[i] == linear ? 1ul << i : 0;
        }

        if (hit == 0)
        {
            return false;
        }

        Dr[6] = (Dr[6] & ~DebugRegisters.Breakpoints) | hit;
        Raise(Vector.Debug);
        return true;
    }

    /// <summary>
    /// After an instruction: raises #DB if TF was set when it began (SDM 3B 18.3.1.4), unless something else was delivered, which cleared
    /// TF, or a load of SS holds traps off for one instruction. SYSCALL and SYSRET count with the flags that they leave.
    /// </summary>
    private bool TrapsAfter(Outcome outcome, bool trap, long deliveries)
    {
        if (outcome is Outcome.Retry or Outcome.Shutdown || deliveries != Deliveries)
        {
            return false;
        }

        if (_emulated is Mnemonic.Syscall or Mnemonic.Sysret or Mnemonic.Sysretq)
        {
            trap = (State->SystemFlags & FlagTrap) != 0;
        }

        if (!trap || (InterruptShadow && _emulated != Mnemonic.Sti))
        {
            return false;
        }

        Dr[6] |= DebugRegisters.BS;
        Raise(Vector.Debug);
        return true;
    }
}
