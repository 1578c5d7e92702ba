using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>Innocuous instructions: the processor itself supplies their meaning.</summary>
internal sealed unsafe partial class Translator
{
    private void EmitNative(in Instruction instruction)
    {
        if (!Code64 && instruction.Mnemonic is Mnemonic.Vzeroall or Mnemonic.Vzeroupper)
        {
            EmitZeroVectors(instruction.Mnemonic == Mnemonic.Vzeroall);
        }
        else if (InstructionUse.HasMemoryOperand(instruction))
        {
            int displacement = 0;
            if (_shared.IsShared)
            {
                displacement = SharedDisplacement((int)instruction.MemoryDisplacement64);
            }
            else
            {
                int size = _use.MemoryBytes(instruction);
                bool write = _use.WritesMemory(instruction);
                EmitAddress(instruction, GuestRegisters.Address, withSegment: true, size, write);
                EmitCheck(size, write);
            }

            _builder.SetHostOffset(_current, _a.Cursor - _start);
            EmitRedirected(instruction, displacement);
        }
        else
        {
            EmitRedirected(instruction);
        }
    }

    /// <summary>Outside 64-bit mode eight registers exist to be cleared (SDM 2C VZEROALL, VZEROUPPER): each by a VEX.128 form of its own.</summary>
    private void EmitZeroVectors(bool all)
    {
        for (Register register = Register.XMM0; register <= Register.XMM7; register++)
        {
            Encode(all ? Instruction.Create(Iced.Intel.Code.VEX_Vpxor_xmm_xmm_xmmm128, register, register, register)
                : Instruction.Create(Iced.Intel.Code.VEX_Vmovaps_xmm_xmmm128, register, register));
        }
    }

    /// <summary>Re-encodes one instruction with its registers renamed and its memory operand, if any, at so far from the address in rbp.</summary>
    private void EmitRedirected(in Instruction guest, int displacement = 0)
    {
        bool memory = InstructionUse.HasMemoryOperand(guest);
        Instruction instruction = guest;
        int slot = memory ? -1 : MemoryForms.Choose(ref instruction);
        EmitRedirected(instruction, memory, displacement, slot);
    }

    private void EmitRedirected(in Instruction instruction, bool memory, int displacement, int slot)
    {
        if (!memory && Code64 && !IsRenamed(instruction))
        {
            CopyBytes(instruction);
            return;
        }

        Instruction host = instruction;
        bool besideHigh = StandsBesideHighByte(instruction, out bool high);
        PassedRegisters passed = new(stackalloc PassedRegister[5]);
        for (int i = 0; i < instruction.OpCount; i++)
        {
            int guest = GuestOperand(instruction, i);
            if (guest < 0)
            {
                continue;
            }

            if (i == slot)
            {
                ToSlot(ref host, i, guest);
                continue;
            }

            Host mapped = GuestRegisters.HostOf(guest);
            if (IsPassed(mapped, besideHigh))
            {
                mapped = Pass(instruction, i, guest, memory, high, ref passed);
            }

            SetRegister(ref host, i, GuestRegisters.InWidthOf(instruction.GetOpRegister(i), mapped));
        }

        if (memory)
        {
            Redirect(ref host, displacement);
        }

        if (!Code64)
        {
            host.Code = Code64Form(host.Code);
            host.CodeSize = CodeSize.Code64;
        }

        Encode(host);
        TakeBack(passed);
    }

    /// <summary>A guest's register that an instruction finds in a scratch register.</summary>
    /// <param name="Guest">Its number.</param>
    /// <param name="Host">Where it is meanwhile.</param>
    /// <param name="Store">Whether the instruction may change it.</param>
    private record struct PassedRegister(int Guest, Host Host, bool Store);

    /// <summary>Those of one instruction, in the order in which scratch registers are handed out.</summary>
    private ref struct PassedRegisters(Span<PassedRegister> room)
    {
        private readonly Span<PassedRegister> _room = room;

        /// <summary>How many there are.</summary>
        public int Count { get; private set; }

        /// <summary>The register whose guest value is in the spare slot meanwhile; or None.</summary>
        public Host Borrowed = Host.None;

        public readonly ref PassedRegister this[int index] => ref _room[index];

        /// <summary>The index of a guest's register, or -1.</summary>
        public readonly int Find(int guest)
        {
            for (int i = Count - 1; i >= 0; i--)
            {
                if (_room[i].Guest == guest)
                {
                    return i;
                }
            }

            return -1;
        }

        public int Add(int guest, Host host)
        {
            _room[Count] = new PassedRegister(guest, host, false);
            return Count++;
        }
    }

    // The number of an operand's general register, or -1 where it is none or the high byte of one.
    private static int GuestOperand(in Instruction instruction, int operand)
        => instruction.GetOpKind(operand) == OpKind.Register ? GuestRegisters.Number(instruction.GetOpRegister(operand)) : -1;

    // Whether an instruction names a guest register that has another number on the host, or none.
    private static bool IsRenamed(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            int guest = GuestOperand(instruction, i);
            if (guest >= 0 && GuestRegisters.HostOf(guest) != (Host)guest)
            {
                return true;
            }
        }

        return false;
    }

    // Whether an instruction names one of AH..BH, and beside it a register whose host register takes a REX prefix, with which there are none.
    private static bool StandsBesideHighByte(in Instruction instruction, out bool high)
    {
        high = false;
        bool extended = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            high |= instruction.GetOpKind(i) == OpKind.Register && GuestRegisters.IsHighByte(instruction.GetOpRegister(i));
            int guest = GuestOperand(instruction, i);
            extended |= guest >= 0 && GuestRegisters.HostOf(guest) >= Host.R8;
        }

        return high && extended;
    }

    // Guest registers that live in memory, or that can't stand beside AH..BH, pass through scratch registers.
    private static bool IsPassed(Host mapped, bool besideHigh) => mapped == Host.None || (besideHigh && mapped >= Host.R8);

    // The scratch register that stands for an operand, loaded at its first use where the instruction reads it.
    private Host Pass(in Instruction instruction, int operand, int guest, bool memory, bool high, ref PassedRegisters passed)
    {
        int known = passed.Find(guest);
        if (known < 0)
        {
            Host scratch = NextScratch(instruction, memory, high, passed.Count, ref passed.Borrowed);
            known = passed.Add(guest, scratch);
            Host mapped = GuestRegisters.HostOf(guest);
            if (mapped != Host.None)
            {
                _a.Move(scratch, mapped);
            }
            else if (!OnlyWritten(instruction, guest))
            {
                _a.Load(scratch, Mem.State(StateLayout.Gpr(guest)));
            }
        }

        OpAccess access = _use.AccessOf(instruction, operand);
        passed[known].Store |= access is not (OpAccess.Read or OpAccess.None or OpAccess.NoMemAccess or OpAccess.CondRead);
        return passed[known].Host;
    }

    // What an instruction changed goes back where it lives, and the register that it borrowed gets its value again.
    private void TakeBack(in PassedRegisters passed)
    {
        for (int i = 0; i < passed.Count; i++)
        {
            (int guest, Host scratch, bool store) = passed[i];
            if (!store)
            {
                continue;
            }

            Host mapped = GuestRegisters.HostOf(guest);
            if (mapped == Host.None)
            {
                _a.Store(Mem.State(StateLayout.Gpr(guest)), scratch);
            }
            else
            {
                _a.Move(mapped, scratch);
            }
        }

        if (passed.Borrowed != Host.None)
        {
            _a.Load(passed.Borrowed, Mem.State(s_spare));
        }
    }

    // Whether an instruction sets all of a register without regard to what it was.
    private bool OnlyWritten(in Instruction instruction, int guest)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register)
            {
                continue;
            }

            Register register = instruction.GetOpRegister(i);
            if (GuestRegisters.Number(register) == guest
                && (_use.AccessOf(instruction, i) != OpAccess.Write || !(register.IsGPR64() || register.IsGPR32())))
            {
                return false;
            }
        }

        return true;
    }

    private Host NextScratch(in Instruction instruction, bool memory, bool high, int count, ref Host borrowed)
    {
        if (!high && count == 0)
        {
            return GuestRegisters.Scratch;
        }

        if (!memory && count == (high ? 0 : 1))
        {
            return GuestRegisters.Address;
        }

        // Three in one instruction (MULX, ANDN, PDEP ...), or no legacy register left: borrow one that it does not name.
        // R8 to R14 are nobody's implicit operand; beside a high byte none of them will do, but no such instruction has two others.
        borrowed = Lendable(instruction);
        _a.Store(Mem.State(s_spare), borrowed);
        return borrowed;
    }

    /// <summary>The register that the host code of an instruction borrows, whose guest value is in the spare slot meanwhile; or None.</summary>
    public static Host BorrowedBy(in Instruction guestInstruction)
    {
        bool memory = InstructionUse.HasMemoryOperand(guestInstruction);
        Instruction instruction = guestInstruction;
        int slot = memory ? -1 : MemoryForms.Choose(ref instruction);
        bool besideHigh = StandsBesideHighByte(instruction, out bool high);
        uint passed = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            int guest = i == slot ? -1 : GuestOperand(instruction, i);
            passed |= guest >= 0 && IsPassed(GuestRegisters.HostOf(guest), besideHigh) ? 1u << guest : 0;
        }

        // As NextScratch hands them out: one or two registers are free.
        int free = (memory ? 0 : 1) + (high ? 0 : 1);
        return System.Numerics.BitOperations.PopCount(passed) <= free ? Host.None : Lendable(instruction);
    }

    private static Host Lendable(in Instruction instruction)
    {
        foreach (Host candidate in (ReadOnlySpan<Host>)[Host.R8, Host.R9, Host.R12, Host.R13, Host.R14])
        {
            bool named = false;
            for (int i = 0; i < instruction.OpCount; i++)
            {
                named |= instruction.GetOpKind(i) == OpKind.Register && GuestRegisters.Number(instruction.GetOpRegister(i)) == (int)candidate;
            }

            if (!named)
            {
                return candidate;
            }
        }

        throw new InvalidOperationException("no register left to borrow");
    }

    private static void ToSlot(ref Instruction host, int operand, int guest)
    {
        host.SetOpKind(operand, OpKind.Memory);
        host.MemoryBase = Register.None;
        host.MemoryIndex = Register.None;
        host.MemoryDisplacement64 = (ulong)StateLayout.Gpr(guest);
        host.MemoryDisplSize = 8;
        host.SegmentPrefix = Register.GS;
    }

    private static void Redirect(ref Instruction host, int displacement)
    {
        host.MemoryBase = Register.RBP;
        host.MemoryIndex = Register.None;
        host.MemoryIndexScale = 1;
        host.MemoryDisplacement64 = (ulong)displacement;
        host.MemoryDisplSize = displacement == 0 ? 0 : displacement == (sbyte)displacement ? 1 : 8;
        host.SegmentPrefix = Register.None;
        host.Code = host.Code switch
        {
            Iced.Intel.Code.Mov_AL_moffs8 => Iced.Intel.Code.Mov_r8_rm8,
            Iced.Intel.Code.Mov_AX_moffs16 => Iced.Intel.Code.Mov_r16_rm16,
            Iced.Intel.Code.Mov_EAX_moffs32 => Iced.Intel.Code.Mov_r32_rm32,
            Iced.Intel.Code.Mov_RAX_moffs64 => Iced.Intel.Code.Mov_r64_rm64,
            Iced.Intel.Code.Mov_moffs8_AL => Iced.Intel.Code.Mov_rm8_r8,
            Iced.Intel.Code.Mov_moffs16_AX => Iced.Intel.Code.Mov_rm16_r16,
            Iced.Intel.Code.Mov_moffs32_EAX => Iced.Intel.Code.Mov_rm32_r32,
            Iced.Intel.Code.Mov_moffs64_RAX => Iced.Intel.Code.Mov_rm64_r64,
            _ => host.Code,
        };
    }

    // Forms of 16- and 32-bit code whose opcodes mean something else in 64-bit mode.
    private static Iced.Intel.Code Code64Form(Iced.Intel.Code code) => code switch
    {
        Iced.Intel.Code.Inc_r16 => Iced.Intel.Code.Inc_rm16,
        Iced.Intel.Code.Inc_r32 => Iced.Intel.Code.Inc_rm32,
        Iced.Intel.Code.Dec_r16 => Iced.Intel.Code.Dec_rm16,
        Iced.Intel.Code.Dec_r32 => Iced.Intel.Code.Dec_rm32,
        Iced.Intel.Code.Add_rm8_imm8_82 => Iced.Intel.Code.Add_rm8_imm8,
        Iced.Intel.Code.Or_rm8_imm8_82 => Iced.Intel.Code.Or_rm8_imm8,
        Iced.Intel.Code.Adc_rm8_imm8_82 => Iced.Intel.Code.Adc_rm8_imm8,
        Iced.Intel.Code.Sbb_rm8_imm8_82 => Iced.Intel.Code.Sbb_rm8_imm8,
        Iced.Intel.Code.And_rm8_imm8_82 => Iced.Intel.Code.And_rm8_imm8,
        Iced.Intel.Code.Sub_rm8_imm8_82 => Iced.Intel.Code.Sub_rm8_imm8,
        Iced.Intel.Code.Xor_rm8_imm8_82 => Iced.Intel.Code.Xor_rm8_imm8,
        Iced.Intel.Code.Cmp_rm8_imm8_82 => Iced.Intel.Code.Cmp_rm8_imm8,
        _ => code,
    };

    private void CopyBytes(in Instruction instruction)
    {
        if ((_mode & CpuMode.Code64) != 0 && !instruction.IsInvalid)
        {
            Encode(instruction);
        }
    }

    private void Encode(in Instruction host)
    {
        _writer.Position = _a.Cursor;
        if (_encoder.TryEncode(host, (ulong)_cache.Executable(_a.Cursor), out _, out string? error))
        {
            _a.Cursor = _writer.Position;
            return;
        }

        // Nothing that decodes should be refused; if it is, the emulator's answer (#UD) is the safe one.
        LastRefusal = $"{host.Code}: {error}";
        EmitRefused();
    }

    /// <summary>The last instruction that could not be re-encoded: a gap to close.</summary>
    public string? LastRefusal { get; private set; }

    private void EmitRefused() => _a.Bytes([0x0F, 0x0B]);

    private static void SetRegister(ref Instruction instruction, int operand, Register register)
    {
        switch (operand)
        {
            case 0:
                instruction.Op0Register = register;
                break;
            case 1:
                instruction.Op1Register = register;
                break;
            case 2:
                instruction.Op2Register = register;
                break;
            case 3:
                instruction.Op3Register = register;
                break;
            default:
                instruction.Op4Register = register;
                break;
        }
    }

    private void EmitLea(in Instruction instruction)
    {
        int guest = GuestRegisters.Number(instruction.Op0Register);
        Host to = GuestRegisters.HostOf(guest);
        if (to != Host.None && instruction.Op0Register.IsGPR64() && !SharedAccesses.UsesAddressRegister(instruction))
        {
            EmitAddress(instruction, to, withSegment: false);
            return;
        }

        if (to != Host.None && instruction.Op0Register.IsGPR32() && !SharedAccesses.UsesAddressRegister(instruction))
        {
            EmitAddress(instruction, to, withSegment: false);
            _a.Move32(to, to);
            return;
        }

        EmitAddress(instruction, GuestRegisters.Address, withSegment: false);
        if (instruction.Op0Register.IsGPR64())
        {
            // A 32-bit or 16-bit address is zero-extended already.
            if (to == Host.None)
            {
                _a.Store(Mem.State(StateLayout.Gpr(guest)), GuestRegisters.Address);
            }
            else
            {
                _a.Move(to, GuestRegisters.Address);
            }
        }
        else if (instruction.Op0Register.IsGPR32())
        {
            _a.Move32(to == Host.None ? GuestRegisters.Address : to, GuestRegisters.Address);
            if (to == Host.None)
            {
                _a.Store(Mem.State(StateLayout.Gpr(guest)), GuestRegisters.Address);
            }
        }
        else if (to == Host.None)
        {
            _a.Store16(Mem.State(StateLayout.Gpr(guest)), GuestRegisters.Address);
        }
        else
        {
            _a.Move16(to, GuestRegisters.Address);
        }
    }

    private void EmitBitString(in Instruction instruction)
    {
        bool wide = instruction.Op1Register.IsGPR64();
        int guest = GuestRegisters.Number(instruction.Op1Register);
        Host bit = GuestRegisters.HostOf(guest);
        byte bytes = (byte)(wide ? 8 : 4);
        EmitAddress(instruction, GuestRegisters.Address);
        ElementOf();
        _a.Lea(Host.Rbp, new Mem(Host.Rbp, Host.R15, bytes, 0, false));
        if (!Code64)
        {
            _a.Move32(Host.Rbp, Host.Rbp);
        }

        EmitCheck(bytes, instruction.Mnemonic != Mnemonic.Bt);

        // The instruction adds the element's distance itself: take it off again (-x is NOT x + 1, and NOT leaves flags alone).
        ElementOf();
        _a.Not(Host.R15);
        _a.Lea(Host.Rbp, new Mem(Host.Rbp, Host.R15, bytes, bytes, false));
        _builder.SetHostOffset(_current, _a.Cursor - _start);
        EmitRedirected(instruction);

        void ElementOf()
        {
            _a.MoveImmediate(Host.R15, wide ? 6u : 5u);
            if (bit == Host.None)
            {
                _a.Sarx(wide, Host.R15, StateLayout.Gpr(guest), Host.R15);
            }
            else
            {
                _a.Sarx(wide, Host.R15, bit, Host.R15);
            }

            if (!wide)
            {
                _a.MoveSign32(Host.R15, Host.R15);
            }
        }
    }
}
