using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>A run of instructions, ending before <see cref="End"/>, whose accesses relative to the register <see cref="Base"/> share one TLB check.</summary>
internal struct SharedRun
{
    public int Base;
    public int Low;
    public int High;
    public int End;

    /// <summary>Sum of the constants added to the base register since the check.</summary>
    public int Delta;

    public bool Writes;
    public bool Checked;

    /// <summary>Whether the host address is stored in the vCPU state.</summary>
    public bool Kept;
}

/// <summary>
/// Finds accesses that can share one TLB check. Instructions of a block often access bytes near the same register: fields of a structure, a stack
/// frame. The first instruction of such a run checks the whole range and leaves its host address in rbp for the others, and also in the vCPU state
/// if instructions between them need rbp. If the range crosses a page, or is not all RAM, the vCPU runs the instructions one by one.
/// </summary>
/// <param name="treatments">The treatment of instructions.</param>
/// <param name="use">Operand accesses and sizes.</param>
/// <param name="block">The block that is being translated.</param>
internal sealed class SharedAccesses(TreatmentRules treatments, InstructionUse use, BlockBuilder block)
{
    /// <summary>Maximum range of a check in bytes: a wider one crosses a page more often.</summary>
    private const int MaxShared = 192;

    private const int StackPointer = 4;

    // The runs in progress; each has its own slot in VcpuState.SharedAddress.
    private readonly SharedRun[] _runs = new SharedRun[VcpuState.SharedAddresses];

    private CpuMode _mode;

    // The run whose host address is in rbp, or -1.
    private int _inAddress;

    private enum Part : byte
    {
        /// <summary>Ends the run before it.</summary>
        Stop,

        /// <summary>Does not use memory, rbp or the base.</summary>
        Bystander,

        /// <summary>Uses rbp, and does not change the base.</summary>
        Stranger,

        /// <summary>Accesses memory by the base, and does not change the base.</summary>
        Access,

        /// <summary>Accesses memory by the base and changes it, or leaves the block: it ends its run.</summary>
        Last,

        /// <summary>Adds a constant to the base.</summary>
        Adjust,
    }

    private readonly record struct Footprint(Part Part, int Displacement, int Size, bool Write, int Adjustment)
    {
        public bool Accesses => Part is Part.Access or Part.Last;
    }

    /// <summary>Number of the current instruction's run, or -1.</summary>
    public int Number { get; private set; } = -1;

    /// <summary>Whether the current instruction belongs to a run.</summary>
    public bool IsShared => Number >= 0;

    /// <summary>The current instruction's run. Only if <see cref="IsShared"/>.</summary>
    public ref SharedRun Run => ref _runs[Number];

    /// <summary>Whether rbp holds the host address of the current instruction's run. The translator sets it.</summary>
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

    /// <summary>Makes an instruction the current one, and finds or starts its run.</summary>
    /// <param name="current">Its number in the block.</param>
    /// <param name="mode">The processor's mode.</param>
    /// <param name="unshared">Registers, one bit each, whose accesses may not share a check.</param>
    public void Plan(int current, CpuMode mode, int unshared)
    {
        Number = -1;
        _mode = mode;
        if ((mode & (CpuMode.Code64 | CpuMode.Single)) != CpuMode.Code64 || (current != 0 && block[current - 1].Mnemonic == Mnemonic.Sti))
        {
            // No exit is allowed between STI and the next instruction, and a failed shared check exits.
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

    /// <summary>Updates the runs after the current instruction: changes of base registers and of rbp.</summary>
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

    // The base register of an instruction's memory operand, if its address is one register plus a displacement; else -1.
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
    /// Whether the host code of an instruction without a memory operand uses rbp: for a second guest register that is in memory, for one that can't be
    /// encoded together with a high byte, or for LEA's address or 16-bit result.
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
