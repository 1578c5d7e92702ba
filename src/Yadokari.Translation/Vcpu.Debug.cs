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

    /// <summary>Exceptions, interrupts and INT n delivered so far.</summary>
    internal long Deliveries { get; set; }

    private readonly InstructionInfoFactory _accesses = new();

    // Breakpoints that an instruction hit which loaded SS: they wait for the end of the next one (SDM 3A 6.8.3), and are lost if something
    // is delivered before it begins.
    private ulong _heldHits;
    private long _heldAt;

    private ulong HeldHits(long deliveries) => deliveries == _heldAt ? _heldHits : 0;

    /// <summary>Some of DR0 to DR3 is enabled.</summary>
    private bool HasBreakpoints
    {
        get
        {
            for (int i = 0; i < 4; i++)
            {
                if (IsInstructionBreakpoint(i) || IsTrapBreakpoint(i))
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>The last instruction loaded SS, which holds off traps and interrupts until the next one is done.</summary>
    private bool LoadedStack => InterruptShadow && _emulated != Mnemonic.Sti;

    private bool IsEnabled(int i) => (Dr[7] >> (2 * i) & 3) != 0;

    private bool IsInstructionBreakpoint(int i) => IsEnabled(i) && KindOf(i) == 0;

    private bool IsDataBreakpoint(int i) => IsEnabled(i) && KindOf(i) is 1 or 3;

    private bool IsPortBreakpoint(int i) => IsEnabled(i) && KindOf(i) == 2 && (Cr4 & X86.Cr4.DE) != 0;

    // Of those that are looked at after an instruction.
    private bool IsTrapBreakpoint(int i) => IsDataBreakpoint(i) || IsPortBreakpoint(i);

    // R/W of DR7: 0 execution, 1 writes, 2 ports, 3 reads and writes.
    private int KindOf(int i) => (int)(Dr[7] >> (16 + (4 * i))) & 3;

    /// <summary>
    /// Before an instruction: which breakpoints on data and ports its accesses will hit, as bits of DR6. It is a trap: the instruction
    /// completes first (SDM 3B 18.3.1.2).
    /// </summary>
    private ulong FindHits()
    {
        bool any = false;
        for (int i = 0; i < 4; i++)
        {
            any |= IsTrapBreakpoint(i);
        }

        if (!any)
        {
            return 0;
        }

        if (!Fetch(out Instruction instruction))
        {
            ClearRaised();
            return 0;
        }

        ulong hits = PortHits(instruction);
        foreach (UsedMemory memory in _accesses.GetInfo(instruction, InstructionInfoOptions.NoRegisterUsage).GetUsedMemory())
        {
            ulong address = OffsetOf(memory, instruction);
            int segment = memory.Segment - Register.ES;
            address += (uint)segment > 5 || (Code64 && segment < 4) ? 0 : Segments[segment].Base;
            ulong size = (ulong)Math.Max(1, SizeOf(memory, instruction).GetSize());
            if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
            {
                ulong more = (Math.Max(Rcx, 1) - 1) * size;
                address -= (State->SystemFlags & (1ul << 10)) != 0 ? more : 0;
                size += more;
            }

            bool writes = IsWrite(memory.Access);
            bool accesses = memory.Access is not (OpAccess.None or OpAccess.NoMemAccess);
            for (int i = 0; i < 4; i++)
            {
                bool kind = KindOf(i) == 1 ? writes : accesses;
                hits |= IsDataBreakpoint(i) && kind && Meets(i, address, size) ? 1ul << i : 0;
            }
        }

        return hits;
    }

    private ulong PortHits(in Instruction instruction)
    {
        int size = instruction.Mnemonic switch
        {
            Mnemonic.In => instruction.Op0Register.GetSize(),
            Mnemonic.Out => instruction.Op1Register.GetSize(),
            Mnemonic.Insb or Mnemonic.Outsb => 1,
            Mnemonic.Insw or Mnemonic.Outsw => 2,
            Mnemonic.Insd or Mnemonic.Outsd => 4,
            _ => 0,
        };
        if (size == 0)
        {
            return 0;
        }

        bool immediate = instruction.Op0Kind == OpKind.Immediate8 || instruction.Op1Kind == OpKind.Immediate8;
        ulong port = immediate ? instruction.Immediate8 : (ushort)Rdx;
        ulong hits = 0;
        for (int i = 0; i < 4; i++)
        {
            hits |= IsPortBreakpoint(i) && Meets(i, port, (ulong)size) ? 1ul << i : 0;
        }

        return hits;
    }

    // Whether an access has a byte in common with what a debug register watches: so many bytes, at a multiple of them.
    private bool Meets(int i, ulong address, ulong size)
    {
        ulong length = (Dr[7] >> (18 + (4 * i)) & 3) switch { 0 => 1, 1 => 2, 2 => 8, _ => 4ul };
        ulong start = Dr[i] & ~(length - 1);
        return address < start + length && start < address + size;
    }

    private ulong ValueOf(Register register, in Instruction instruction) => register switch
    {
        Register.None => 0,
        Register.RIP or Register.EIP => 0, // The displacement is the address already.
        _ when register.IsGPR64() => Gpr(register.GetNumber()),
        _ when register.IsGPR32() => (uint)Gpr(register.GetNumber()),
        _ when register.IsGPR16() => (ushort)Gpr(register.GetNumber()),
        Register.AL => (byte)Rax,
        _ => 0,
    };

    /// <summary>
    /// Before an instruction: raises #DB if a breakpoint is set on it, unless RF lets it run this once (SDM 3B 18.3.1.1). RF has done its
    /// work then; a fault of the instruction sets it anew in what it pushes. After a load of SS too, as AMD's processors do, together with
    /// what that load hit.
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

        // The handler finds RF set, so that returning goes on. SDM 3B 18.3.1.1 leaves that to the handler; kvm-unit-tests' debug relies on it.
        State->SystemFlags |= FlagResume;
        Dr[6] = (Dr[6] & ~DebugRegisters.Breakpoints) | hit | HeldHits(Deliveries);
        _heldHits = 0;
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

        ulong held = HeldHits(deliveries);
        _heldHits = 0;
        if (outcome == Outcome.Shutdown)
        {
            return false;
        }

        if (deliveries != Deliveries)
        {
            trap = false;
            hits = _emulated is Mnemonic.Int or Mnemonic.Int3 or Mnemonic.Into or Mnemonic.Int1 ? held : 0;
        }
        else if (LoadedStack)
        {
            _heldHits = hits;
            _heldAt = deliveries;
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
