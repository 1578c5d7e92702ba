using Iced.Intel;
using Yadokari.X86;
using static Yadokari.Translation.Emulation.Operands;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation;

/// <summary>
/// The guest's own debugging (SDM 3B 18.3): single steps by EFLAGS.TF, and breakpoints on execution, data and ports in DR0 to DR3, all in
/// blocks of one instruction. Before each <see cref="HitsBreakpoint"/>, then <see cref="Begin"/>, and after it <see cref="TrapsAfter"/>. Of the
/// vCPU's thread.
/// </summary>
internal sealed unsafe class DebugUnit(Vcpu cpu, InstructionAccesses accesses)
{
    private readonly Breakpoints _breakpoints = new(cpu.Dr);

    // Of the step in progress: whether it is of one instruction, TF and what had been delivered before it, what it will hit, and the last
    // instruction of it that went to the emulator.
    private bool _single;
    private bool _trap;
    private long _deliveries;
    private ulong _hits;
    private Mnemonic _emulated;

    /// <summary>A breakpoint is enabled and can be hit.</summary>
    public bool HasBreakpoints => _breakpoints.HasAny(cpu.Cr4);

    // The last instruction loaded SS, which holds off traps and interrupts until the next one is done.
    private bool LoadedStack => cpu.Events.InterruptShadow && _emulated != Mnemonic.Sti;

    /// <summary>
    /// Before an instruction: raises #DB if a breakpoint is set on it, unless RF lets it run this once (SDM 3B 18.3.1.1). RF has done its
    /// work then; a fault of the instruction sets it anew in what it pushes. After a load of SS too, as AMD's processors do, together with
    /// what that load hit.
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

        // The handler finds RF set, so that returning goes on. SDM 3B 18.3.1.1 leaves that to the handler; kvm-unit-tests' debug relies on it.
        cpu.State->SystemFlags |= FlagResume;
        cpu.Dr[6] = (cpu.Dr[6] & ~DebugRegisters.Breakpoints) | hit | cpu.Events.TakeBreakpoints(cpu.Events.Deliveries);
        cpu.Raise(Vector.Debug);
        return true;
    }

    /// <summary>An instruction is about to run, or a block of them.</summary>
    /// <param name="single">Whether it is one that runs alone: only those are looked at.</param>
    public void Begin(bool single)
    {
        _single = single;
        _trap = (cpu.State->SystemFlags & FlagTrap) != 0;
        _deliveries = cpu.Events.Deliveries;
        _hits = single && _breakpoints.AreEnabled ? FindHits() : 0;
        _emulated = Mnemonic.INVALID;
    }

    /// <summary>It goes to the emulator, or a part of the block does.</summary>
    public void Emulates(Mnemonic mnemonic) => _emulated = mnemonic;

    /// <summary>
    /// After an instruction: raises #DB if TF was set when it began (SDM 3B 18.3.1.4), unless something else was delivered, which cleared
    /// TF, or a load of SS holds traps off for one instruction. SYSCALL and SYSRET count with the flags that they leave. The same for
    /// breakpoints on data and ports that were hit; those that a load of SS hit outlive an INT n that comes next: its handler has not begun
    /// when they are taken. INT1 takes them with its own.
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
    /// Before an instruction: which breakpoints on data and ports its accesses will hit, as bits of DR6. It is a trap: the instruction
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
