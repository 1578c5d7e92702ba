using Iced.Intel;
using Yadokari.X86;
using static Yadokari.Translation.Emulation.Operands;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation;

/// <summary>
/// The guest's debug facilities (SDM 3B 18.3): single stepping by EFLAGS.TF, and breakpoints on execution, data and ports in DR0 to DR3, all in
/// blocks of one instruction. The caller calls <see cref="HitsBreakpoint"/> and <see cref="Begin"/> before each instruction, and
/// <see cref="TrapsAfter"/> after it. On the vCPU's thread.
/// </summary>
internal sealed unsafe class DebugUnit(Vcpu cpu, InstructionAccesses accesses)
{
    private readonly Breakpoints _breakpoints = new(cpu.Dr);

    // The current step: whether it is a single instruction, TF and the count of deliveries before it, the breakpoints that it will hit, and the
    // last instruction that was emulated.
    private bool _single;
    private bool _trap;
    private long _deliveries;
    private ulong _hits;
    private Mnemonic _emulated;

    /// <summary>Whether a breakpoint is enabled and can be hit.</summary>
    public bool HasBreakpoints => _breakpoints.HasAny(cpu.Cr4);

    // Whether the last instruction loaded SS, which delays traps and interrupts until after the next one.
    private bool LoadedStack => cpu.Events.InterruptShadow && _emulated != Mnemonic.Sti;

    /// <summary>
    /// Before an instruction: raises #DB if an execution breakpoint matches it and RF is clear (SDM 3B 18.3.1.1), and clears RF; a fault of the
    /// instruction pushes RF set. Also after a load of SS, as on AMD's processors, together with the breakpoints which that load hit.
    /// </summary>
    public bool HitsBreakpoint()
    {
        bool resume = (cpu.State->SystemFlags & FlagResume) != 0;
        cpu.State->SystemFlags &= ~FlagResume;
        if (resume || !_breakpoints.AreEnabled)
        {
            return false;
        }

        ulong hit = _breakpoints.ExecutionHits(cpu.LinearRip);
        if (hit == 0)
        {
            return false;
        }

        // RF is set in the pushed flags, so that IRET resumes. SDM 3B 18.3.1.1 leaves that to the handler; kvm-unit-tests' debug relies on it.
        cpu.State->SystemFlags |= FlagResume;
        cpu.Dr[6] = (cpu.Dr[6] & ~DebugRegisters.Breakpoints) | hit | cpu.Events.TakeBreakpoints(cpu.Events.Deliveries);
        cpu.Raise(Vector.Debug);
        return true;
    }

    /// <summary>Called before a block runs.</summary>
    /// <param name="single">Whether it is a block of one instruction: only those are checked.</param>
    public void Begin(bool single)
    {
        _single = single;
        _trap = (cpu.State->SystemFlags & FlagTrap) != 0;
        _deliveries = cpu.Events.Deliveries;
        _hits = single && _breakpoints.AreEnabled ? FindHits() : 0;
        _emulated = Mnemonic.INVALID;
    }

    /// <summary>Called when an instruction of the block is emulated.</summary>
    public void Emulates(Mnemonic mnemonic) => _emulated = mnemonic;

    /// <summary>
    /// After an instruction: raises #DB if TF was set when it began (SDM 3B 18.3.1.4), unless a delivered event cleared TF or a load of SS delays
    /// traps for one instruction. For SYSCALL and SYSRET, the flags after them count. The same applies to breakpoints on data and ports that were
    /// hit. Those hit by a load of SS are kept across a following INT n, whose handler has not begun when they are taken; INT1 raises them with
    /// its own #DB.
    /// </summary>
    public bool TrapsAfter(Outcome outcome) => (_single || _emulated is Mnemonic.Sysret or Mnemonic.Sysretq) && outcome != Outcome.Retry && Traps(outcome);

    private bool Traps(Outcome outcome)
    {
        bool trap = _trap;
        ulong hits = _hits;
        ulong held = cpu.Events.TakeBreakpoints(_deliveries);
        if (outcome == Outcome.Shutdown)
        {
            return false;
        }

        if (_deliveries != cpu.Events.Deliveries)
        {
            trap = false;
            hits = _emulated is Mnemonic.Int or Mnemonic.Int3 or Mnemonic.Into or Mnemonic.Int1 ? held : 0;
        }
        else if (LoadedStack)
        {
            cpu.Events.HoldBreakpoints(hits, _deliveries);
            return false;
        }
        else
        {
            hits |= held;
            if (_emulated is Mnemonic.Syscall or Mnemonic.Sysret or Mnemonic.Sysretq)
            {
                trap = (cpu.State->SystemFlags & FlagTrap) != 0;
            }
        }

        if (hits != 0)
        {
            cpu.Dr[6] = (cpu.Dr[6] & ~DebugRegisters.Breakpoints) | hits;
        }

        if ((!trap && hits == 0) || _emulated == Mnemonic.Int1)
        {
            return false;
        }

        cpu.Dr[6] |= trap ? DebugRegisters.BS : 0;
        cpu.Raise(Vector.Debug);
        return true;
    }

    /// <summary>
    /// Before an instruction: determines which breakpoints on data and ports its accesses will hit, as bits of DR6. They trap: the instruction
    /// completes first (SDM 3B 18.3.1.2).
    /// </summary>
    private ulong FindHits()
    {
        if (!_breakpoints.HasAccesses(cpu.Cr4))
        {
            return 0;
        }

        if (!cpu.Fetch.TryDecode(out Instruction instruction))
        {
            cpu.ClearRaised();
            return 0;
        }

        return accesses.Hits(instruction, _breakpoints);
    }
}
