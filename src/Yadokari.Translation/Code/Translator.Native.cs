using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>Translation of innocuous instructions, which are copied with registers renamed and the memory operand redirected.</summary>
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

    /// <summary>Clears the eight registers that exist outside 64-bit mode (SDM 2C VZEROALL, VZEROUPPER), each by a VEX.128 instruction.</summary>
    private void EmitZeroVectors(bool all)
    {
        for (Register register = Register.XMM0; register <= Register.XMM7; register++)
        {
            Encode(all ? Instruction.Create(Iced.Intel.Code.VEX_Vpxor_xmm_xmm_xmmm128, register, register, register)
                : Instruction.Create(Iced.Intel.Code.VEX_Vmovaps_xmm_xmmm128, register, register));
        }
    }

    /// <summary>Re-encodes an instruction with its registers renamed and its memory operand, if any, at a displacement from the address in rbp.</summary>
    private void EmitRedirected(in Instruction guest, int displacement = 0)
    {
        bool memory = InstructionUse.HasMemoryOperand(guest);
        Instruction instruction = guest;
        int slot = memory ? -1 : MemoryForms.Choose(ref instruction);
        EmitRedirected(instruction, memory, displacement, slot);
    }

    private void EmitRedirected(in Instruction instruction, bool memory, int displacement, int slot)
    {
        if (!memory && Code64 && !RegisterRenaming.IsRenamed(instruction))
        {
            CopyBytes(instruction);
            return;
        }

        Instruction host = instruction;
        bool besideHigh = RegisterRenaming.StandsBesideHighByte(instruction, out bool high);
        PassedRegisters passed = new(stackalloc PassedRegister[5]);
        for (int i = 0; i < instruction.OpCount; i++)
        {
            int guest = RegisterRenaming.GuestOperand(instruction, i);
            if (guest < 0)
            {
                continue;
            }

            if (i == slot)
            {
                HostForms.ToSlot(ref host, i, guest);
                continue;
            }

            Host mapped = GuestRegisters.HostOf(guest);
            if (RegisterRenaming.IsPassed(mapped, besideHigh))
            {
                mapped = Pass(instruction, i, guest, memory, high, ref passed);
            }

            HostForms.SetRegister(ref host, i, GuestRegisters.InWidthOf(instruction.GetOpRegister(i), mapped));
        }

        if (memory)
        {
            HostForms.Redirect(ref host, displacement);
        }

        if (!Code64)
        {
            host.Code = HostForms.Code64Form(host.Code);
            host.CodeSize = CodeSize.Code64;
        }

        Encode(host);
        TakeBack(passed);
    }

    /// <summary>A guest register that is in a scratch register while an instruction runs.</summary>
    /// <param name="Guest">Its number.</param>
    /// <param name="Host">The scratch register.</param>
    /// <param name="Store">Whether the instruction may change it.</param>
    private record struct PassedRegister(int Guest, Host Host, bool Store);

    /// <summary>The registers of one instruction that are in scratch registers, in the order of allocation.</summary>
    private ref struct PassedRegisters(Span<PassedRegister> room)
    {
        private readonly Span<PassedRegister> _room = room;

        /// <summary>Their number.</summary>
        public int Count { get; private set; }

        /// <summary>The borrowed register, whose guest value is in <see cref="VcpuState.SaveRcx"/>; or None.</summary>
        public Host Borrowed = Host.None;

        public readonly ref PassedRegister this[int index] => ref _room[index];

        /// <summary>The index of a guest register, or -1.</summary>
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

    // The scratch register for an operand. It is loaded at its first use if the instruction reads it.
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

    // Stores changed registers to their slots, and restores the borrowed register.
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

    // Whether an instruction overwrites a whole register without reading it.
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

        // Three registers in one instruction (MULX, ANDN, PDEP ...), or no legacy register left: borrow one that it does not use. R8 to R14 are no
        // implicit operands. With a high byte they can't be used, but no such instruction needs two more registers.
        borrowed = RegisterRenaming.Lendable(instruction);
        _a.Store(Mem.State(s_spare), borrowed);
        return borrowed;
    }

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

        // Encoding should not fail for a decoded instruction; if it does, emulation (#UD) is safe.
        LastRefusal = $"{host.Code}: {error}";
        EmitRefused();
    }

    /// <summary>The last instruction that could not be re-encoded, with the error; for diagnostics.</summary>
    public string? LastRefusal { get; private set; }

    private void EmitRefused() => _a.Bytes([0x0F, 0x0B]);

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
            // An address of 32 or 16 bits is already zero-extended.
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

        // The instruction adds the element's distance itself, so subtract it (-x is NOT x + 1, and NOT preserves flags).
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
