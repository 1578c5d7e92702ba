using System.Runtime.CompilerServices;

namespace Yadokari.Translation.Code;

/// <summary>Host registers by the number of their encoding.</summary>
internal enum Host : byte
{
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    None = 0xFF,
}

/// <summary>A memory operand of emitted code.</summary>
/// <param name="Base">Base register or None.</param>
/// <param name="Index">Index register or None.</param>
/// <param name="Scale">1, 2, 4, 8.</param>
/// <param name="Displacement">Signed.</param>
/// <param name="Gs">Whether relative to the gs base, that is to <see cref="VcpuState"/>.</param>
internal readonly record struct Mem(Host Base, Host Index, byte Scale, int Displacement, bool Gs)
{
    /// <summary>A field of the vCPU state, at a constant offset.</summary>
    public static Mem State(int offset) => new(Host.None, Host.None, 1, offset, true);

    /// <summary>An element of a table in the vCPU state.</summary>
    public static Mem State(Host index, int offset) => new(index, Host.None, 1, offset, true);

    /// <summary>Memory of the host by a register.</summary>
    public static Mem At(Host register, int displacement = 0) => new(register, Host.None, 1, displacement, false);
}

/// <summary>The second operand of the two-operand arithmetic group (opcode extension of 80..83).</summary>
internal enum Alu : byte
{
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    Cmp,
}

/// <summary>Condition codes as encoded in Jcc.</summary>
internal enum Condition : byte
{
    Below = 2,
    AboveOrEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowOrEqual = 6,
    Above = 7,
}

/// <summary>
/// Emits the host instructions that the translator inserts, directly into the code cache. Iced re-encodes the guest's instructions. Bounds are
/// not checked: before each block, the caller checks that the cache has room for the longest block.
/// </summary>
internal unsafe struct HostAssembler
{
    private byte* _cursor;

    /// <summary>Address of the next byte, in the writable view.</summary>
    public byte* Cursor
    {
        readonly get => _cursor;
        set => _cursor = value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Byte(int value) => *_cursor++ = (byte)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Int32(int value)
    {
        *(int*)_cursor = value;
        _cursor += 4;
    }

    public void Int64(ulong value)
    {
        *(ulong*)_cursor = value;
        _cursor += 8;
    }

    public void Bytes(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(new Span<byte>(_cursor, bytes.Length));
        _cursor += bytes.Length;
    }

    /// <summary>An instruction with a ModRM memory operand: prefixes, REX, opcode bytes, operand.</summary>
    private void Modrm(bool wide, ReadOnlySpan<byte> opcode, int reg, in Mem mem, byte mandatory = 0, bool byteRegister = false)
    {
        if (mem.Gs)
        {
            Byte(0x65);
        }

        if (mandatory != 0)
        {
            Byte(mandatory);
        }

        int b = mem.Base == Host.None ? 0 : (int)mem.Base;
        int x = mem.Index == Host.None ? 0 : (int)mem.Index;
        int rex = (wide ? 8 : 0) | ((reg >> 3) << 2) | ((x >> 3) << 1) | (b >> 3);
        if (rex != 0 || (byteRegister && reg >= 4))
        {
            Byte(0x40 | rex);
        }

        Bytes(opcode);
        int r = (reg & 7) << 3;
        if (mem.Base == Host.None)
        {
            Byte(r | 4);
            Byte(mem.Index == Host.None ? 0x25 : (Log2(mem.Scale) << 6) | ((x & 7) << 3) | 5);
            Int32(mem.Displacement);
            return;
        }

        int mod = mem.Displacement == 0 && (b & 7) != 5 ? 0 : mem.Displacement == (sbyte)mem.Displacement ? 1 : 2;
        if (mem.Index != Host.None || (b & 7) == 4)
        {
            Byte((mod << 6) | r | 4);
            Byte((Log2(mem.Scale) << 6) | ((mem.Index == Host.None ? 4 : x & 7) << 3) | (b & 7));
        }
        else
        {
            Byte((mod << 6) | r | (b & 7));
        }

        if (mod == 1)
        {
            Byte(mem.Displacement);
        }
        else if (mod == 2)
        {
            Int32(mem.Displacement);
        }
    }

    private static int Log2(byte scale) => scale switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 };

    private void Registers(bool wide, ReadOnlySpan<byte> opcode, int reg, int rm)
    {
        int rex = (wide ? 8 : 0) | ((reg >> 3) << 2) | (rm >> 3);
        if (rex != 0)
        {
            Byte(0x40 | rex);
        }

        Bytes(opcode);
        Byte(0xC0 | ((reg & 7) << 3) | (rm & 7));
    }

    public void Load(Host register, in Mem mem) => Modrm(true, [0x8B], (int)register, mem);

    public void Load32(Host register, in Mem mem) => Modrm(false, [0x8B], (int)register, mem);

    public void LoadZero16(Host register, in Mem mem) => Modrm(false, [0x0F, 0xB7], (int)register, mem);

    public void Store(in Mem mem, Host register) => Modrm(true, [0x89], (int)register, mem);

    public void Store32(in Mem mem, Host register) => Modrm(false, [0x89], (int)register, mem);

    public void Store16(in Mem mem, Host register) => Modrm(false, [0x89], (int)register, mem, 0x66);

    public void StoreImmediate(in Mem mem, int value)
    {
        Modrm(true, [0xC7], 0, mem);
        Int32(value);
    }

    public void StoreImmediate32(in Mem mem, int value)
    {
        Modrm(false, [0xC7], 0, mem);
        Int32(value);
    }

    public void StoreImmediate16(in Mem mem, int value)
    {
        Modrm(false, [0xC7], 0, mem, 0x66);
        Byte(value);
        Byte(value >> 8);
    }

    public void Lea(Host register, in Mem mem) => Modrm(true, [0x8D], (int)register, mem);

    public void Lea32(Host register, in Mem mem) => Modrm(false, [0x8D], (int)register, mem);

    public void Move(Host to, Host from) => Registers(true, [0x89], (int)from, (int)to);

    public void Move32(Host to, Host from) => Registers(false, [0x89], (int)from, (int)to);

    public void MoveZero16(Host to, Host from) => Registers(false, [0x0F, 0xB7], (int)to, (int)from);

    /// <summary>Zero-extends the low byte.</summary>
    public void MoveZero8(Host to, Host from)
    {
        Byte(0x40 | (((int)to >> 3) << 2) | ((int)from >> 3));
        Bytes([0x0F, 0xB6]);
        Byte(0xC0 | (((int)to & 7) << 3) | ((int)from & 7));
    }

    public void Move16(Host to, Host from)
    {
        Byte(0x66);
        Registers(false, [0x89], (int)from, (int)to);
    }

    /// <summary>MOVSXD.</summary>
    public void MoveSign32(Host to, Host from) => Registers(true, [0x63], (int)to, (int)from);

    public void Not(Host register) => Registers(true, [0xF7], 2, (int)register);

    /// <summary>SARX (BMI2): preserves flags.</summary>
    public void Sarx(bool wide, Host to, Host from, Host count)
    {
        Byte(0xC4);
        Byte((((int)to >> 3) == 0 ? 0x80 : 0) | 0x40 | (((int)from >> 3) == 0 ? 0x20 : 0) | 2);
        Byte((wide ? 0x80 : 0) | ((~(int)count & 15) << 3) | 2);
        Byte(0xF7);
        Byte(0xC0 | (((int)to & 7) << 3) | ((int)from & 7));
    }

    /// <summary>SARX (BMI2) of a field of the vCPU state.</summary>
    public void Sarx(bool wide, Host to, int stateOffset, Host count)
    {
        Byte(0x65);
        Byte(0xC4);
        Byte((((int)to >> 3) == 0 ? 0x80 : 0) | 0x60 | 2);
        Byte((wide ? 0x80 : 0) | ((~(int)count & 15) << 3) | 2);
        Byte(0xF7);
        Byte((((int)to & 7) << 3) | 4);
        Byte(0x25);
        Int32(stateOffset);
    }

    /// <summary>The shortest form that sets the whole register.</summary>
    public void MoveImmediate(Host register, ulong value)
    {
        int r = (int)register;
        if (value <= uint.MaxValue)
        {
            if (r >= 8)
            {
                Byte(0x41);
            }

            Byte(0xB8 | (r & 7));
            Int32((int)value);
        }
        else if ((ulong)(int)value == value)
        {
            Byte(0x48 | (r >> 3));
            Byte(0xC7);
            Byte(0xC0 | (r & 7));
            Int32((int)value);
        }
        else
        {
            Byte(0x48 | (r >> 3));
            Byte(0xB8 | (r & 7));
            Int64(value);
        }
    }

    public void Arithmetic(Alu operation, Host register, int value)
    {
        bool small = value == (sbyte)value;
        Registers(true, [(byte)(small ? 0x83 : 0x81)], (int)operation, (int)register);
        if (small)
        {
            Byte(value);
        }
        else
        {
            Int32(value);
        }
    }

    public void Arithmetic32(Alu operation, Host register, int value)
    {
        bool small = value == (sbyte)value;
        Registers(false, [(byte)(small ? 0x83 : 0x81)], (int)operation, (int)register);
        if (small)
        {
            Byte(value);
        }
        else
        {
            Int32(value);
        }
    }

    public void Arithmetic(Alu operation, Host register, in Mem mem) => Modrm(true, [(byte)(((int)operation << 3) | 3)], (int)register, mem);

    public void Arithmetic32(Alu operation, Host register, in Mem mem) => Modrm(false, [(byte)(((int)operation << 3) | 3)], (int)register, mem);

    public void Arithmetic32(Alu operation, in Mem mem, int value)
    {
        bool small = value == (sbyte)value;
        Modrm(false, [(byte)(small ? 0x83 : 0x81)], (int)operation, mem);
        if (small)
        {
            Byte(value);
        }
        else
        {
            Int32(value);
        }
    }

    /// <summary>As <c>Arithmetic32</c>, always with an immediate of four bytes, the last four, so that it can be patched.</summary>
    public void Arithmetic32Wide(Alu operation, in Mem mem, int value)
    {
        Modrm(false, [0x81], (int)operation, mem);
        Int32(value);
    }

    public void Arithmetic(Alu operation, in Mem mem, int value)
    {
        bool small = value == (sbyte)value;
        Modrm(true, [(byte)(small ? 0x83 : 0x81)], (int)operation, mem);
        if (small)
        {
            Byte(value);
        }
        else
        {
            Int32(value);
        }
    }

    public void ShiftRight32(Host register, int count)
    {
        Registers(false, [0xC1], 5, (int)register);
        Byte(count);
    }

    public void ShiftLeft32(Host register, int count)
    {
        Registers(false, [0xC1], 4, (int)register);
        Byte(count);
    }

    /// <summary>RORX r32 (BMI2): preserves flags.</summary>
    public void Rorx32(Host to, Host from, int count)
    {
        Byte(0xC4);
        Byte((((int)to >> 3) == 0 ? 0x80 : 0) | 0x40 | (((int)from >> 3) == 0 ? 0x20 : 0) | 3);
        Byte(0x7B);
        Byte(0xF0);
        Byte(0xC0 | (((int)to & 7) << 3) | ((int)from & 7));
        Byte(count);
    }

    /// <summary>RORX r64 (BMI2): preserves flags.</summary>
    public void Rorx64(Host to, Host from, int count)
    {
        Byte(0xC4);
        Byte((((int)to >> 3) == 0 ? 0x80 : 0) | 0x40 | (((int)from >> 3) == 0 ? 0x20 : 0) | 3);
        Byte(0xFB);
        Byte(0xF0);
        Byte(0xC0 | (((int)to & 7) << 3) | ((int)from & 7));
        Byte(count);
    }

    public void ShiftLeft(Host register, int count)
    {
        Registers(true, [0xC1], 4, (int)register);
        Byte(count);
    }

    public void ShiftRightSigned(Host register, int count)
    {
        Registers(true, [0xC1], 7, (int)register);
        Byte(count);
    }

    public void Compare(Host left, Host right) => Registers(true, [0x39], (int)right, (int)left);

    /// <summary>TEST of a register with itself.</summary>
    public void Test(Host register) => Registers(true, [0x85], (int)register, (int)register);

    public void Test(Host register, int value)
    {
        Registers(true, [0xF7], 0, (int)register);
        Int32(value);
    }

    public void Test32(Host register, int value)
    {
        Registers(false, [0xF7], 0, (int)register);
        Int32(value);
    }

    public void Test32(in Mem mem, int value)
    {
        Modrm(false, [0xF7], 0, mem);
        Int32(value);
    }

    public void PushFlags() => Byte(0x9C);

    public void ReadTsc() => Bytes([0x0F, 0x31]);

    public void LoadFence() => Bytes([0x0F, 0xAE, 0xE8]);

    /// <summary>MOVS or STOS with 64-bit addresses.</summary>
    /// <param name="opcode">The opcode for elements of one byte.</param>
    /// <param name="bytes">Bytes of an element.</param>
    /// <param name="repeated">Whether it has a REP prefix.</param>
    public void String(int opcode, int bytes, bool repeated)
    {
        if (bytes == 2)
        {
            Byte(0x66);
        }

        if (repeated)
        {
            Byte(0xF3);
        }

        if (bytes == 8)
        {
            Byte(0x48);
        }

        Byte(bytes == 1 ? opcode : opcode + 1);
    }

    public void Push(int value)
    {
        Byte(0x6A);
        Byte(value);
    }

    public void Push(Host register)
    {
        if ((int)register >= 8)
        {
            Byte(0x41);
        }

        Byte(0x50 | ((int)register & 7));
    }

    public void Pop(Host register)
    {
        if ((int)register >= 8)
        {
            Byte(0x41);
        }

        Byte(0x58 | ((int)register & 7));
    }

    public void Pop(in Mem mem) => Modrm(false, [0x8F], 0, mem);

    public void Return() => Byte(0xC3);

    /// <summary>Saves the arithmetic flags in AH and AL; the value of AX is lost.</summary>
    public void SaveFlagsInAx()
    {
        Byte(0x9F);
        Bytes([0x0F, 0x90, 0xC0]);
    }

    /// <summary>Restores the arithmetic flags from AX: 127 + OF overflows exactly if OF was set.</summary>
    public void RestoreFlagsFromAx()
    {
        Bytes([0x04, 0x7F]);
        Byte(0x9E);
    }

    public void Jump(Host register) => Registers(false, [0xFF], 4, (int)register);

    public void Jump(in Mem mem) => Modrm(false, [0xFF], 4, mem);

    /// <summary>CALL rel32 to an address in the writable view; returns the address of its displacement.</summary>
    public byte* Call(byte* target)
    {
        Byte(0xE8);
        Int32((int)(target - (_cursor + 4)));
        return _cursor - 4;
    }

    public void Call(in Mem mem) => Modrm(false, [0xFF], 2, mem);

    /// <summary>JMP rel32; returns the address of its displacement.</summary>
    public byte* Jump(byte* target)
    {
        Byte(0xE9);
        Int32((int)(target - (_cursor + 4)));
        return _cursor - 4;
    }

    /// <summary>Jcc rel32; returns the address of its displacement.</summary>
    public byte* Jump(Condition condition, byte* target)
    {
        Byte(0x0F);
        Byte(0x80 | (int)condition);
        Int32((int)(target - (_cursor + 4)));
        return _cursor - 4;
    }

    /// <summary>JRCXZ or JECXZ to be patched; returns the address of its 8-bit displacement.</summary>
    public byte* JumpRcxZero(bool only32)
    {
        if (only32)
        {
            Byte(0x67);
        }

        Byte(0xE3);
        Byte(0);
        return _cursor - 1;
    }

    /// <summary>Patches a rel32 jump to go to <paramref name="target"/>.</summary>
    public static void Patch(byte* displacement, byte* target) => *(int*)displacement = (int)(target - (displacement + 4));

    /// <summary>Patches a rel8 jump to go to the cursor.</summary>
    public readonly void PatchShort(byte* displacement) => *displacement = (byte)(_cursor - (displacement + 1));

    public void Ldmxcsr(in Mem mem) => Modrm(false, [0x0F, 0xAE], 2, mem);

    public void Xsave(in Mem mem) => Modrm(true, [0x0F, 0xAE], 4, mem);

    public void Xrstor(in Mem mem) => Modrm(true, [0x0F, 0xAE], 5, mem);
}
