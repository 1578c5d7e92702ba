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
        Instruction host = instruction;
        bool changed = memory || !Code64;
        bool high = false;
        bool clash = false;
        int operands = instruction.OpCount;
        for (int i = 0; i < operands; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register)
            {
                continue;
            }

            Register register = instruction.GetOpRegister(i);
            high |= GuestRegisters.IsHighByte(register);
            int guest = GuestRegisters.Number(register);
            if (guest < 0)
            {
                continue;
            }

            Host mapped = GuestRegisters.HostOf(guest);
            clash |= mapped >= Host.R8;
            if (mapped != (Host)guest)
            {
                changed = true;
            }
        }

        if (!changed)
        {
            CopyBytes(instruction);
            return;
        }

        // Guest registers that live in memory, or that can't stand beside AH..BH, pass through scratch registers.
        Span<(int Guest, Host Host, bool Store)> passed = stackalloc (int, Host, bool)[5];
        int count = 0;
        Host borrowed = Host.None;
        for (int i = 0; i < operands; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register)
            {
                continue;
            }

            Register register = instruction.GetOpRegister(i);
            int guest = GuestRegisters.Number(register);
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
            if (mapped == Host.None || (high && clash && mapped >= Host.R8))
            {
                int known = -1;
                for (int k = 0; k < count; k++)
                {
                    known = passed[k].Guest == guest ? k : known;
                }

                if (known < 0)
                {
                    Host scratch = NextScratch(instruction, memory, high, count, ref borrowed);
                    passed[count] = (guest, scratch, false);
                    known = count++;
                    if (mapped == Host.None)
                    {
                        if (!OnlyWritten(instruction, guest))
                        {
                            _a.Load(scratch, Mem.State(StateLayout.Gpr(guest)));
                        }
                    }
                    else
                    {
                        _a.Move(scratch, mapped);
                    }
                }

                OpAccess access = _use.AccessOf(instruction, i);
                passed[known].Store |= access is not (OpAccess.Read or OpAccess.None or OpAccess.NoMemAccess or OpAccess.CondRead);
                mapped = passed[known].Host;
            }

            SetRegister(ref host, i, GuestRegisters.InWidthOf(register, mapped));
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
        for (int k = 0; k < count; k++)
        {
            (int guest, Host scratch, bool store) = passed[k];
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

        if (borrowed != Host.None)
        {
            _a.Load(borrowed, Mem.State(s_spare));
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
        bool high = false;
        bool clash = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            Register register = instruction.GetOpKind(i) == OpKind.Register ? instruction.GetOpRegister(i) : Register.None;
            int guest = GuestRegisters.Number(register);
            high |= GuestRegisters.IsHighByte(register);
            clash |= guest >= 0 && GuestRegisters.HostOf(guest) >= Host.R8;
        }

        uint passed = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            int guest = instruction.GetOpKind(i) == OpKind.Register ? GuestRegisters.Number(instruction.GetOpRegister(i)) : -1;
            Host mapped = guest < 0 || i == slot ? Host.Rax : GuestRegisters.HostOf(guest);
            passed |= mapped == Host.None || (high && clash && mapped >= Host.R8) ? 1u << guest : 0;
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
