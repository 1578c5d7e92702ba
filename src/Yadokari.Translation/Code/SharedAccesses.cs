using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>Instructions before <see cref="End"/> that reach memory by <see cref="Base"/>, for whose accesses one check stands.</summary>
internal struct SharedRun
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

/// <summary>
/// One check for several accesses. Instructions of a block often reach the same few bytes around one register: fields of a structure,
/// a stack frame. The first of such a run checks the whole range at once and leaves its host address in rbp for the others, and in the vCPU
/// state if instructions between them need rbp. Where the range crosses a page, or any part of it is not plain RAM, the monitor steps
/// through the run one instruction at a time.
/// </summary>
/// <param name="treatments">How instructions are translated.</param>
/// <param name="use">What they do with their operands.</param>
/// <param name="block">The block that is being translated.</param>
internal sealed class SharedAccesses(TreatmentRules treatments, InstructionUse use, BlockBuilder block)
{
    /// <summary>Longest range that one check covers, in bytes: the wider, the more often it crosses a page.</summary>
    private const int MaxShared = 192;

    private const int StackPointer = 4;

    // Those in progress: of each, what it keeps has its own place.
    private readonly SharedRun[] _runs = new SharedRun[VcpuState.SharedAddresses];

    private CpuMode _mode;

    // The run whose host address is in rbp, or -1.
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

    /// <summary>The run that the current instruction belongs to, or -1.</summary>
    public int Number { get; private set; } = -1;

    /// <summary>Whether the current instruction's operand is one of a run's.</summary>
    public bool IsShared => Number >= 0;

    /// <summary>The run that the current instruction belongs to, if it is shared.</summary>
    public ref SharedRun Run => ref _runs[Number];

    /// <summary>Whether rbp has the host address of the current instruction's run; to be set once it has.</summary>
    public bool IsInAddress
    {
        get => _inAddress == Number;
        set => _inAddress = value ? Number : -1;
    }

    /// <summary>Begins another block.</summary>
    public void Clear()
    {
        Array.Clear(_runs);
        Number = -1;
        _inAddress = -1;
    }

    /// <summary>Looks whether an instruction of the block, the current one from now on, belongs to a run, or starts one.</summary>
    /// <param name="current">Its number in the block.</param>
    /// <param name="mode">The processor's mode.</param>
    /// <param name="unshared">Registers, a bit each, for whose accesses one check may not stand together.</param>
    public void Plan(int current, CpuMode mode, int unshared)
    {
        Number = -1;
        _mode = mode;
        if ((mode & (CpuMode.Code64 | CpuMode.Single)) != CpuMode.Code64 || (current != 0 && block[current - 1].Mnemonic == Mnemonic.Sti))
        {
            // Nothing may leave between STI and its next instruction, as a shared check does that fails.
            return;
        }

        int free = -1;
        for (int i = 0; i < _runs.Length; i++)
        {
            if (_runs[i].End <= current)
            {
                free = i;
            }
            else if (FootprintOf(block[current], _runs[i].Base).Accesses)
            {
                Number = i;
                return;
            }
        }

        int register = BaseOf(block[current]);
        if (free < 0 || register < 0 || ((unshared >> register) & 1) != 0)
        {
            return;
        }

        var run = new SharedRun { Base = register, Low = int.MaxValue, High = int.MinValue };
        int delta = 0;
        int accesses = 0;
        bool strangers = false;
        for (int i = current; i < block.Count; i++)
        {
            Footprint footprint = FootprintOf(block[i], register);
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
            Number = free;
            _runs[free] = run;
        }
    }

    /// <summary>Keeps track, after the current instruction, of base registers that move and of what is in rbp.</summary>
    public void After(in Instruction instruction, int current)
    {
        for (int i = 0; i < _runs.Length; i++)
        {
            ref SharedRun run = ref _runs[i];
            if (run.End - current <= 1)
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
        switch (treatments.Of(instruction, _mode))
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
        switch (treatments.Of(instruction, _mode))
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
                return use.Changes(instruction, register) ? default : stranger;

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
                    int size = use.MemoryBytes(instruction);
                    return new Footprint(use.Changes(instruction, register) ? Part.Last : Part.Access, (int)instruction.MemoryDisplacement64, size, use.WritesMemory(instruction), 0);
                }

                if (!memory && instruction.Mnemonic is Mnemonic.Add or Mnemonic.Sub && instruction.Op0Register.IsGPR64()
                    && GuestRegisters.Number(instruction.Op0Register) == register && instruction.Op1Kind is OpKind.Immediate8to64 or OpKind.Immediate32to64
                    && (long)instruction.GetImmediate(1) == (short)instruction.GetImmediate(1))
                {
                    short by = (short)instruction.GetImmediate(1);
                    return new Footprint(Part.Adjust, 0, 0, false, instruction.Mnemonic == Mnemonic.Add ? by : -by);
                }

                return use.Changes(instruction, register) ? default
                    : memory || UsesAddressRegister(instruction) ? stranger : bystander;

            default:
                return default;
        }
    }

    /// <summary>
    /// Whether the host code of an instruction without a memory operand needs rbp: for a second guest register that lives in memory, for one
    /// that cannot stand beside a high byte, for LEA's address, or for its result of 16 bits.
    /// </summary>
    public static bool UsesAddressRegister(in Instruction guestInstruction)
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
            return passed != 0 || GuestRegisters.LivesInMemory(instruction.MemoryBase) || GuestRegisters.LivesInMemory(instruction.MemoryIndex) || instruction.Op0Register.IsGPR16();
        }

        return System.Numerics.BitOperations.PopCount(passed) > 1 || (high && far);
    }
}
