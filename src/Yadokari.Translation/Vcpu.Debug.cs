using Iced.Intel;
using Yadokari.X86;

namespace Yadokari.Translation;

/// <summary>
/// The guest's own debugging (SDM 3B 18.3): single steps by EFLAGS.TF, and breakpoints on execution, data and ports in DR0 to DR3, all in
/// blocks of one instruction.
/// </summary>
internal sealed unsafe partial class Vcpu
{
    private const ulong FlagTrap = 1ul << 8;
    private const ulong FlagResume = 1ul << 16;

    // The last instruction of this step that went to the emulator.
    private Mnemonic _emulated;

    private readonly InstructionAccesses _accesses;

    private readonly Breakpoints _debugRegisters;

    /// <summary>The last instruction loaded SS, which holds off traps and interrupts until the next one is done.</summary>
    private bool LoadedStack => Events.InterruptShadow && _emulated != Mnemonic.Sti;

    /// <summary>
    /// Before an instruction: which breakpoints on data and ports its accesses will hit, as bits of DR6. It is a trap: the instruction
    /// completes first (SDM 3B 18.3.1.2).
    /// </summary>
    private ulong FindHits()
    {
        if (!_debugRegisters.HasAccesses(Cr4))
        {
            return 0;
        }

        if (!Fetch(out Instruction instruction))
        {
            ClearRaised();
            return 0;
        }

        return _accesses.Hits(instruction, _debugRegisters);
    }

    /// <summary>
    /// Before an instruction: raises #DB if a breakpoint is set on it, unless RF lets it run this once (SDM 3B 18.3.1.1). RF has done its
    /// work then; a fault of the instruction sets it anew in what it pushes. After a load of SS too, as AMD's processors do, together with
    /// what that load hit.
    /// </summary>
    private bool HitsBreakpoint()
    {
        bool resume = (State->SystemFlags & FlagResume) != 0;
        State->SystemFlags &= ~FlagResume;
        if (resume || !_debugRegisters.AreEnabled)
        {
            return false;
        }

        ulong hit = _debugRegisters.ExecutionHits(LinearRip);
        if (hit == 0)
        {
            return false;
        }

        // The handler finds RF set, so that returning goes on. SDM 3B 18.3.1.1 leaves that to the handler; kvm-unit-tests' debug relies on it.
        State->SystemFlags |= FlagResume;
        Dr[6] = (Dr[6] & ~DebugRegisters.Breakpoints) | hit | Events.TakeBreakpoints(Events.Deliveries);
        Raise(Vector.Debug);
        return true;
    }

    /// <summary>
    /// After an instruction: raises #DB if TF was set when it began (SDM 3B 18.3.1.4), unless something else was delivered, which cleared
    /// TF, or a load of SS holds traps off for one instruction. SYSCALL and SYSRET count with the flags that they leave. The same for
    /// breakpoints on data and ports that were hit; those that a load of SS hit outlive an INT n that comes next: its handler has not begun
    /// when they are taken. INT1 takes them with its own.
    /// </summary>
    private bool TrapsAfter(Outcome outcome, bool trap, ulong hits, long deliveries)
    {
        if (outcome == Outcome.Retry)
        {
            return false;
        }

        ulong held = Events.TakeBreakpoints(deliveries);
        if (outcome == Outcome.Shutdown)
        {
            return false;
        }

        if (deliveries != Events.Deliveries)
        {
            trap = false;
            hits = _emulated is Mnemonic.Int or Mnemonic.Int3 or Mnemonic.Into or Mnemonic.Int1 ? held : 0;
        }
        else if (LoadedStack)
        {
            Events.HoldBreakpoints(hits, deliveries);
            return false;
        }
        else
        {
            hits |= held;
            if (_emulated is Mnemonic.Syscall or Mnemonic.Sysret or Mnemonic.Sysretq)
            {
                trap = (State->SystemFlags & FlagTrap) != 0;
            }
        }

        if (hits != 0)
        {
            Dr[6] = (Dr[6] & ~DebugRegisters.Breakpoints) | hits;
        }

        if ((!trap && hits == 0) || _emulated == Mnemonic.Int1)
        {
            return false;
        }

        Dr[6] |= trap ? DebugRegisters.BS : 0;
        Raise(Vector.Debug);
        return true;
    }
}
