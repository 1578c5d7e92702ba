using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// One check for several accesses. Neighbouring instructions often reach the same few bytes around one register: fields of a structure,
/// a stack frame. The first of such a run checks the whole range at once and leaves its host address in rbp for the others.
/// Where the range crosses a page, or any part of it is not plain RAM, the monitor steps through the run one instruction at a time.
/// </summary>
internal sealed unsafe partial class Translator
{
    /// <summary>Longest range that one check covers, in bytes: the wider, the more often it crosses a page.</summary>
    private const int MaxShared = 192;

    private const int StackPointer = 4;

    // The run in progress: instructions before _sharedEnd reach [base + _sharedLow, ...) through rbp; _sharedDelta is how far the base
    // register has moved since the check.
    private int _sharedEnd;
    private int _sharedBase;
    private int _sharedLow;
    private int _sharedHigh;
    private int _sharedDelta;
    private bool _sharedWrites;
    private bool _sharedChecked;

    private enum Part : byte
    {
        /// <summary>Ends the run before it.</summary>
        Stop,

        /// <summary>Leaves memory, rbp and the base alone.</summary>
        Bystander,

        /// <summary>Accesses memory by the base, and leaves the base alone.</summary>
        Access,

        /// <summary>Accesses memory by the base and changes it, or leaves the block: the last of its run.</summary>
        Last,

        /// <summary>Adds a constant to the base.</summary>
        Adjust,
    }

    private readonly record struct Footprint(Part Part, int Displacement, int Size, bool Write, int Adjustment);

    /// <summary>Whether the current instruction's operand stands at rbp already, by <see cref="SharedDisplacement"/>.</summary>
    private bool Shared => _current < _sharedEnd;

    /// <summary>Looks whether a run starts at the current instruction.</summary>
    private void PlanSharing()
    {
        if (_current < _sharedEnd || !Code64 || Single || !_share)
        {
            return;
        }

        _sharedEnd = 0;
        int register = BaseOf(_instructions[_current]);
        if (register < 0)
        {
            return;
        }

        int low = int.MaxValue;
        int high = int.MinValue;
        int delta = 0;
        int accesses = 0;
        int end = _current;
        bool writes = false;
        for (int i = _current; i < _count; i++)
        {
            Footprint footprint = FootprintOf(_instructions[i], register);
            if (footprint.Part == Part.Stop)
            {
                break;
            }

            if (footprint.Part is Part.Access or Part.Last)
            {
                int from = Math.Min(low, delta + footprint.Displacement);
                int to = Math.Max(high, delta + footprint.Displacement + footprint.Size);
                if (to - from > MaxShared)
                {
                    break;
                }

                (low, high) = (from, to);
                accesses++;
                writes |= footprint.Write;
                end = i + 1;
            }

            delta += footprint.Adjustment;
            if (footprint.Part == Part.Last)
            {
                break;
            }
        }

        if (accesses < 2)
        {
            return;
        }

        _sharedEnd = end;
        _sharedBase = register;
        _sharedLow = low;
        _sharedHigh = high;
        _sharedDelta = 0;
        _sharedWrites = writes;
        _sharedChecked = false;
    }

    /// <summary>
    /// Makes rbp point at the run's range, if it does not yet. Returns the distance from rbp to an access at so far from the base register.
    /// </summary>
    private int SharedDisplacement(int displacement)
    {
        if (!_sharedChecked)
        {
            Host register = Get(_sharedBase, Host.Rbp);
            _a.Lea(Host.Rbp, Mem.At(register, _sharedLow));
            EmitCheck(_sharedHigh - _sharedLow, _sharedWrites);
            _cold[_coldCount - 1].Extra = _sharedEnd - _current;
            _sharedChecked = true;
        }

        return _sharedDelta + displacement - _sharedLow;
    }

    /// <summary>Keeps track of a base register that moves, after an instruction of the run.</summary>
    private void AfterShared(in Instruction instruction)
    {
        if (Shared && _sharedEnd - _current > 1)
        {
            _sharedDelta += FootprintOf(instruction, _sharedBase).Adjustment;
        }
    }

    // The register by which an instruction reaches memory, if it does so by one register and a displacement; else -1.
    private int BaseOf(in Instruction instruction)
    {
        switch (TreatmentOf(instruction))
        {
            case Treatment.Stack:
                return instruction.Mnemonic is Mnemonic.Leave || (instruction.Mnemonic == Mnemonic.Push && instruction.Op0Kind == OpKind.Memory) ? -1 : StackPointer;
            case Treatment.Native when HasMemoryOperand(instruction) && instruction.MemoryBase.IsGPR64() && instruction.MemoryIndex == Register.None
                && instruction.MemorySegment is not (Register.FS or Register.GS)
                && (long)instruction.MemoryDisplacement64 == (int)instruction.MemoryDisplacement64:
                return GuestRegisters.Number(instruction.MemoryBase);
            default:
                return -1;
        }
    }

    private Footprint FootprintOf(in Instruction instruction, int register)
    {
        switch (TreatmentOf(instruction))
        {
            case Treatment.Nothing:
                return new Footprint(Part.Bystander, 0, 0, false, 0);

            case Treatment.Stack when register == StackPointer && BaseOf(instruction) == StackPointer:
                if (instruction.Mnemonic == Mnemonic.Push)
                {
                    return new Footprint(Part.Access, -8, 8, true, -8);
                }

                return new Footprint(instruction.Op0Register == Register.RSP ? Part.Last : Part.Access, 0, 8, false, 8);

            case Treatment.Flow when register == StackPointer && instruction.IsCallNear:
                return new Footprint(Part.Last, -8, 8, true, -8);

            case Treatment.Flow when register == StackPointer && instruction.FlowControl == FlowControl.Return:
                return new Footprint(Part.Last, 0, 8, false, 8);

            case Treatment.Address when !UsesAddressRegister(instruction):
                if (GuestRegisters.Number(instruction.Op0Register) != register)
                {
                    return new Footprint(Part.Bystander, 0, 0, false, 0);
                }

                return instruction.Op0Register.IsGPR64() && instruction.MemoryBase == instruction.Op0Register && instruction.MemoryIndex == Register.None
                    && (long)instruction.MemoryDisplacement64 == (short)instruction.MemoryDisplacement64
                    ? new Footprint(Part.Adjust, 0, 0, false, (short)instruction.MemoryDisplacement64)
                    : default;

            case Treatment.Native:
                bool memory = HasMemoryOperand(instruction);
                if (memory && BaseOf(instruction) != register)
                {
                    return default;
                }

                if (!memory)
                {
                    if (instruction.Mnemonic is Mnemonic.Add or Mnemonic.Sub && instruction.Op0Register.IsGPR64()
                        && GuestRegisters.Number(instruction.Op0Register) == register && instruction.Op1Kind is OpKind.Immediate8to64 or OpKind.Immediate32to64
                        && (long)instruction.GetImmediate(1) == (short)instruction.GetImmediate(1) && !UsesAddressRegister(instruction))
                    {
                        short by = (short)instruction.GetImmediate(1);
                        return new Footprint(Part.Adjust, 0, 0, false, instruction.Mnemonic == Mnemonic.Add ? by : -by);
                    }

                    return Changes(instruction, register) || UsesAddressRegister(instruction) ? default : new Footprint(Part.Bystander, 0, 0, false, 0);
                }

                int size = MemoryBytes(instruction);
                return new Footprint(Changes(instruction, register) ? Part.Last : Part.Access, (int)instruction.MemoryDisplacement64, size, WritesMemory(instruction), 0);

            default:
                return default;
        }
    }

    // Whether the host code of an instruction without a memory operand needs rbp: for a second guest register that lives in memory, for one
    // that cannot stand beside a high byte, or for LEA's address.
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
            return passed != 0 || LivesInMemory(instruction.MemoryBase) || LivesInMemory(instruction.MemoryIndex);
        }

        return System.Numerics.BitOperations.PopCount(passed) > 1 || (high && far);
    }

    private static bool LivesInMemory(Register register)
    {
        int guest = GuestRegisters.Number(register);
        return guest >= 0 && GuestRegisters.HostOf(guest) == Host.None;
    }

    private bool Changes(in Instruction instruction, int register)
    {
        Register full = Register.RAX + register;
        InstructionInfo info = _info.GetInfo(instruction, InstructionInfoOptions.NoMemoryUsage);
        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            if (used.Access is not (OpAccess.Read or OpAccess.CondRead) && used.Register.IsGPR() && used.Register.GetFullRegister() == full)
            {
                return true;
            }
        }

        return false;
    }
}
