using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// One check for several accesses. Instructions of a block often reach the same few bytes around one register: fields of a structure,
/// a stack frame. The first of such a run checks the whole range at once and leaves its host address in rbp for the others, and in the vCPU
/// state if instructions between them need rbp. Where the range crosses a page, or any part of it is not plain RAM, the monitor steps
/// through the run one instruction at a time.
/// </summary>
internal sealed unsafe partial class Translator
{
    /// <summary>Longest range that one check covers, in bytes: the wider, the more often it crosses a page.</summary>
    private const int MaxShared = 192;

    private const int StackPointer = 4;

    /// <summary>Instructions before <see cref="End"/> that reach memory by <see cref="Base"/>.</summary>
    private struct Run
    {
        public int Base;
        public int Low;
        public int High;
        public int End;

        /// <summary>How far the base register has moved since the check.</summary>
        public int Delta;

        public bool Writes;
        public bool Checked;

        /// <summary>The host address is kept in the vCPU state.</summary>
        public bool Kept;
    }

    // Those in progress: of each, what it keeps has its own place.
    private readonly Run[] _runs = new Run[VcpuState.SharedAddresses];

    // The run that the current instruction belongs to, and the one whose host address is in rbp; or -1.
    private int _run;
    private int _inAddress;

    private enum Part : byte
    {
        /// <summary>Ends the run before it.</summary>
        Stop,

        /// <summary>Leaves memory, rbp and the base alone.</summary>
        Bystander,

        /// <summary>Needs rbp for itself, and leaves the base alone.</summary>
        Stranger,

        /// <summary>Accesses memory by the base, and leaves the base alone.</summary>
        Access,

        /// <summary>Accesses memory by the base and changes it, or leaves the block: the last of its run.</summary>
        Last,

        /// <summary>Adds a constant to the base.</summary>
        Adjust,
    }

    private readonly record struct Footprint(Part Part, int Displacement, int Size, bool Write, int Adjustment)
    {
        public bool Accesses => Part is Part.Access or Part.Last;
    }

    /// <summary>Whether the current instruction's operand is one of a run's: <see cref="SharedDisplacement"/>.</summary>
    private bool Shared => _run >= 0;

    private void ForgetRuns()
    {
        Array.Clear(_runs);
        _run = -1;
        _inAddress = -1;
    }

    /// <summary>Looks whether the current instruction belongs to a run, or starts one.</summary>
    private void PlanSharing()
    {
        _run = -1;
        if (!Code64 || Single || (_current != 0 && _builder[_current - 1].Mnemonic == Mnemonic.Sti))
        {
            // Nothing may leave between STI and its next instruction, as a shared check does that fails.
            return;
        }

        int free = -1;
        for (int i = 0; i < _runs.Length; i++)
        {
            if (_runs[i].End <= _current)
            {
                free = i;
            }
            else if (FootprintOf(_builder[_current], _runs[i].Base).Accesses)
            {
                _run = i;
                return;
            }
        }

        int register = BaseOf(_builder[_current]);
        if (free < 0 || register < 0 || ((_unshared >> register) & 1) != 0)
        {
            return;
        }

        var run = new Run { Base = register, Low = int.MaxValue, High = int.MinValue };
        int delta = 0;
        int accesses = 0;
        bool strangers = false;
        for (int i = _current; i < _builder.Count; i++)
        {
            Footprint footprint = FootprintOf(_builder[i], register);
            if (footprint.Part == Part.Stop)
            {
                break;
            }

            strangers |= footprint.Part == Part.Stranger;
            if (footprint.Accesses)
            {
                int from = Math.Min(run.Low, delta + footprint.Displacement);
                int to = Math.Max(run.High, delta + footprint.Displacement + footprint.Size);
                if (to - from > MaxShared)
                {
                    break;
                }

                (run.Low, run.High) = (from, to);
                accesses++;
                run.Writes |= footprint.Write;
                run.Kept |= strangers;
                run.End = i + 1;
            }

            delta += footprint.Adjustment;
            if (footprint.Part == Part.Last)
            {
                break;
            }
        }

        if (accesses >= 2)
        {
            _run = free;
            _runs[free] = run;
        }
    }

    /// <summary>
    /// Makes rbp point at the run's range, if it does not yet. Returns the distance from rbp to an access at so far from the base register.
    /// </summary>
    private int SharedDisplacement(int displacement)
    {
        ref Run run = ref _runs[_run];
        Mem kept = Mem.State(StateLayout.SharedAddress(_run));
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
        else if (_inAddress != _run)
        {
            _a.Load(Host.Rbp, kept);
        }

        _inAddress = _run;
        return run.Delta + displacement - run.Low;
    }

    /// <summary>Keeps track, after an instruction, of base registers that move and of what is in rbp.</summary>
    private void AfterShared(in Instruction instruction)
    {
        for (int i = 0; i < _runs.Length; i++)
        {
            ref Run run = ref _runs[i];
            if (run.End - _current <= 1)
            {
                continue;
            }

            Footprint footprint = FootprintOf(instruction, run.Base);
            run.Delta += footprint.Adjustment;
            if (footprint.Part == Part.Stranger && _inAddress == i)
            {
                _inAddress = -1;
            }
        }
    }

    // The register by which an instruction reaches memory, if it does so by one register and a displacement; else -1.
    private int BaseOf(in Instruction instruction)
    {
        switch (TreatmentOf(instruction))
        {
            case Treatment.Stack:
                return instruction.Mnemonic is Mnemonic.Leave || (instruction.Mnemonic == Mnemonic.Push && instruction.Op0Kind == OpKind.Memory) ? -1 : StackPointer;
            case Treatment.Native when InstructionUse.HasMemoryOperand(instruction) && instruction.MemoryBase.IsGPR64() && instruction.MemoryIndex == Register.None
                && instruction.MemorySegment is not (Register.FS or Register.GS)
                && (long)instruction.MemoryDisplacement64 == (int)instruction.MemoryDisplacement64:
                return GuestRegisters.Number(instruction.MemoryBase);
            default:
                return -1;
        }
    }

    private Footprint FootprintOf(in Instruction instruction, int register)
    {
        var stranger = new Footprint(Part.Stranger, 0, 0, false, 0);
        var bystander = new Footprint(Part.Bystander, 0, 0, false, 0);
        switch (TreatmentOf(instruction))
        {
            case Treatment.Nothing:
                return bystander;

            case Treatment.Stack when register == StackPointer && BaseOf(instruction) == StackPointer:
                if (instruction.Mnemonic == Mnemonic.Push)
                {
                    return new Footprint(Part.Access, -8, 8, true, -8);
                }

                return new Footprint(instruction.Op0Register == Register.RSP ? Part.Last : Part.Access, 0, 8, false, 8);

            case Treatment.Stack:
                return _use.Changes(instruction, register) ? default : stranger;

            case Treatment.Flow when register == StackPointer && instruction.IsCallNear:
                return new Footprint(Part.Last, -8, 8, true, -8);

            case Treatment.Flow when register == StackPointer && instruction.FlowControl == FlowControl.Return:
                return new Footprint(Part.Last, 0, 8, false, 8);

            case Treatment.Address when GuestRegisters.Number(instruction.Op0Register) != register:
                return UsesAddressRegister(instruction) ? stranger : bystander;

            case Treatment.Address when !UsesAddressRegister(instruction):
                return instruction.Op0Register.IsGPR64() && instruction.MemoryBase == instruction.Op0Register && instruction.MemoryIndex == Register.None
                    && (long)instruction.MemoryDisplacement64 == (short)instruction.MemoryDisplacement64
                    ? new Footprint(Part.Adjust, 0, 0, false, (short)instruction.MemoryDisplacement64)
                    : default;

            case Treatment.Native:
                bool memory = InstructionUse.HasMemoryOperand(instruction);
                if (memory && BaseOf(instruction) == register)
                {
                    int size = _use.MemoryBytes(instruction);
                    return new Footprint(_use.Changes(instruction, register) ? Part.Last : Part.Access, (int)instruction.MemoryDisplacement64, size, _use.WritesMemory(instruction), 0);
                }

                if (!memory && instruction.Mnemonic is Mnemonic.Add or Mnemonic.Sub && instruction.Op0Register.IsGPR64()
                    && GuestRegisters.Number(instruction.Op0Register) == register && instruction.Op1Kind is OpKind.Immediate8to64 or OpKind.Immediate32to64
                    && (long)instruction.GetImmediate(1) == (short)instruction.GetImmediate(1))
                {
                    short by = (short)instruction.GetImmediate(1);
                    return new Footprint(Part.Adjust, 0, 0, false, instruction.Mnemonic == Mnemonic.Add ? by : -by);
                }

                return _use.Changes(instruction, register) ? default
                    : memory || UsesAddressRegister(instruction) ? stranger : bystander;

            default:
                return default;
        }
    }

    // Whether the host code of an instruction without a memory operand needs rbp: for a second guest register that lives in memory, for one
    // that cannot stand beside a high byte, for LEA's address, or for its result of 16 bits.
    private static bool UsesAddressRegister(in Instruction guestInstruction)
    {
        Instruction instruction = guestInstruction;
        int slot = MemoryForms.Choose(ref instruction);
        bool high = false;
        bool far = false;
        uint passed = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (i == slot || instruction.GetOpKind(i) != OpKind.Register)
            {
                continue;
            }

            Register register = instruction.GetOpRegister(i);
            high |= GuestRegisters.IsHighByte(register);
            int guest = GuestRegisters.Number(register);
            if (guest >= 0)
            {
                Host host = GuestRegisters.HostOf(guest);
                passed |= host == Host.None ? 1u << guest : 0;
                far |= host >= Host.R8;
            }
        }

        if (instruction.Mnemonic == Mnemonic.Lea)
        {
            return passed != 0 || LivesInMemory(instruction.MemoryBase) || LivesInMemory(instruction.MemoryIndex) || instruction.Op0Register.IsGPR16();
        }

        return System.Numerics.BitOperations.PopCount(passed) > 1 || (high && far);
    }

    private static bool LivesInMemory(Register register)
    {
        int guest = GuestRegisters.Number(register);
        return guest >= 0 && GuestRegisters.HostOf(guest) == Host.None;
    }
}
