using System.Buffers.Binary;
using Iced.Intel;
using Kind = Iced.Intel.OpCodeOperandKind;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>Chooses operands of every kind for one instruction, and the register values that point its memory operand somewhere.</summary>
internal sealed class OperandMaker(Prng random, Placement placement, MachineImage image, Code code)
{
    private static readonly Register[] s_bytes =
    [
        Register.AL, Register.CL, Register.DL, Register.BL, Register.AH, Register.CH, Register.DH, Register.BH, Register.SPL, Register.BPL,
        Register.SIL, Register.DIL, Register.R8L, Register.R9L, Register.R10L, Register.R11L, Register.R12L, Register.R13L, Register.R14L, Register.R15L,
    ];

    private readonly OpCodeInfo _info = code.ToOpCode();
    private Instruction _instruction;
    private int _locked;

    /// <summary>Where the explicit memory operand went, or 0.</summary>
    public ulong Target { get; private set; }

    /// <summary>Bits of the instruction's addresses.</summary>
    public int AddressSize { get; private set; }

    private bool Wide => image.Bitness == 64;

    private int Registers => Wide ? 16 : 8;

    private int OtherAddressSize => image.Bitness == 32 ? 16 : 32;

    /// <summary>Sets a register unless the memory operand's address depends on it.</summary>
    public void Set(int register, ulong value)
    {
        if (!IsLocked(register))
        {
            image.Gpr[register] = value;
        }
    }

    /// <summary>Whether the memory operand's address depends on a register.</summary>
    public bool IsLocked(int register) => (_locked >> register & 1) != 0;

    /// <summary>Makes the instruction, not yet encoded.</summary>
    public bool TryMake(out Instruction instruction)
    {
        _instruction = new Instruction { Code = code };
        AddressSize = _info.AddressSize != 0 ? _info.AddressSize : random.OneIn(8) ? OtherAddressSize : image.Bitness;
        bool memory = !random.OneIn(3);
        for (int i = 0; i < _info.OpCount; i++)
        {
            Kind kind = _info.GetOpKind(i);
            if (!TrySet(i, kind, memory))
            {
                instruction = _instruction;
                return false;
            }
        }

        Decorate();
        instruction = _instruction;
        return true;
    }

    private bool TrySet(int i, Kind kind, bool memory)
    {
        bool evex = _info.Encoding == EncodingKind.EVEX;
        int vectors = !Wide ? 8 : evex ? 32 : 16;
        switch (kind)
        {
            case Kind.mem or Kind.mem_offs or Kind.sibmem:
                return SetMemory(i, kind, Register.None);
            case Kind.mem_vsib32x or Kind.mem_vsib64x:
                return SetMemory(i, kind, Register.XMM0 + random.Below(vectors));
            case Kind.mem_vsib32y or Kind.mem_vsib64y:
                return SetMemory(i, kind, Register.YMM0 + random.Below(vectors));
            case Kind.mem_vsib32z or Kind.mem_vsib64z:
                return SetMemory(i, kind, Register.ZMM0 + random.Below(vectors));
            case Kind.r8_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, random.Pick<Register>(Wide ? s_bytes : s_bytes.AsSpan(0, 8)));
            case Kind.r16_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, Register.AX + random.Below(Registers));
            case Kind.r32_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, Register.EAX + random.Below(Registers));
            case Kind.r64_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, Register.RAX + random.Below(Registers));
            case Kind.mm_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, Register.MM0 + random.Below(8));
            case Kind.xmm_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, Register.XMM0 + random.Below(vectors));
            case Kind.ymm_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, Register.YMM0 + random.Below(vectors));
            case Kind.zmm_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, Register.ZMM0 + random.Below(vectors));
            case Kind.k_or_mem:
                return memory ? SetMemory(i, kind, Register.None) : SetRegister(i, Register.K0 + random.Below(8));
            case Kind.r8_reg or Kind.r8_opcode:
                return SetRegister(i, random.Pick<Register>(Wide ? s_bytes : s_bytes.AsSpan(0, 8)));
            case Kind.r16_reg or Kind.r16_rm or Kind.r16_opcode or Kind.r16_reg_mem:
                return SetRegister(i, Register.AX + random.Below(Registers));
            case Kind.r32_reg or Kind.r32_rm or Kind.r32_opcode or Kind.r32_vvvv or Kind.r32_reg_mem:
                return SetRegister(i, Register.EAX + random.Below(Registers));
            case Kind.r64_reg or Kind.r64_rm or Kind.r64_opcode or Kind.r64_vvvv or Kind.r64_reg_mem:
                return SetRegister(i, Register.RAX + random.Below(Registers));
            case Kind.seg_reg:
                return SetRegister(i, Register.ES + random.Below(6));
            case Kind.cr_reg:
                return SetRegister(i, random.Pick(Register.CR0, Register.CR2, Register.CR3, Register.CR4, Register.CR8));
            case Kind.dr_reg:
                return SetRegister(i, random.Pick(Register.DR0, Register.DR1, Register.DR2, Register.DR3, Register.DR6, Register.DR7));
            case Kind.k_reg or Kind.k_rm or Kind.k_vvvv or Kind.kp1_reg:
                return SetRegister(i, Register.K0 + random.Below(8));
            case Kind.mm_reg or Kind.mm_rm:
                return SetRegister(i, Register.MM0 + random.Below(8));
            case Kind.xmm_reg or Kind.xmm_rm or Kind.xmm_vvvv:
                return SetRegister(i, Register.XMM0 + random.Below(vectors));
            case Kind.xmm_is4 or Kind.xmm_is5:
                return SetRegister(i, Register.XMM0 + random.Below(Math.Min(vectors, 16)));
            case Kind.ymm_reg or Kind.ymm_rm or Kind.ymm_vvvv:
                return SetRegister(i, Register.YMM0 + random.Below(vectors));
            case Kind.ymm_is4 or Kind.ymm_is5:
                return SetRegister(i, Register.YMM0 + random.Below(Math.Min(vectors, 16)));
            case Kind.zmm_reg or Kind.zmm_rm or Kind.zmm_vvvv:
                return SetRegister(i, Register.ZMM0 + random.Below(vectors));
            case Kind.es:
                return SetRegister(i, Register.ES);
            case Kind.cs:
                return SetRegister(i, Register.CS);
            case Kind.ss:
                return SetRegister(i, Register.SS);
            case Kind.ds:
                return SetRegister(i, Register.DS);
            case Kind.fs:
                return SetRegister(i, Register.FS);
            case Kind.gs:
                return SetRegister(i, Register.GS);
            case Kind.al:
                return SetRegister(i, Register.AL);
            case Kind.cl:
                return SetRegister(i, Register.CL);
            case Kind.ax:
                return SetRegister(i, Register.AX);
            case Kind.dx:
                return SetRegister(i, Register.DX);
            case Kind.eax:
                return SetRegister(i, Register.EAX);
            case Kind.rax:
                return SetRegister(i, Register.RAX);
            case Kind.st0:
                return SetRegister(i, Register.ST0);
            case Kind.sti_opcode:
                return SetRegister(i, Register.ST0 + random.Below(8));
            case Kind.imm4_m2z or Kind.imm8:
                return SetByte(i, (byte)(kind == Kind.imm8 ? SmallOrRandom() : random.Below(16)));
            case Kind.imm8_const_1:
                return SetByte(i, 1);
            case Kind.imm8sex16:
                _instruction.SetOpKind(i, OpKind.Immediate8to16);
                _instruction.Immediate8to16 = (sbyte)random.Interesting();
                return true;
            case Kind.imm8sex32:
                _instruction.SetOpKind(i, OpKind.Immediate8to32);
                _instruction.Immediate8to32 = (sbyte)random.Interesting();
                return true;
            case Kind.imm8sex64:
                _instruction.SetOpKind(i, OpKind.Immediate8to64);
                _instruction.Immediate8to64 = (sbyte)random.Interesting();
                return true;
            case Kind.imm16:
                _instruction.SetOpKind(i, OpKind.Immediate16);
                _instruction.Immediate16 = _info.IsStackInstruction ? (ushort)random.Below(256) : (ushort)random.Interesting();
                return true;
            case Kind.imm32:
                _instruction.SetOpKind(i, OpKind.Immediate32);
                _instruction.Immediate32 = (uint)random.Interesting();
                return true;
            case Kind.imm32sex64:
                _instruction.SetOpKind(i, OpKind.Immediate32to64);
                _instruction.Immediate32to64 = (int)random.Interesting();
                return true;
            case Kind.imm64:
                _instruction.SetOpKind(i, OpKind.Immediate64);
                _instruction.Immediate64 = random.Interesting();
                return true;
            case Kind.seg_rSI:
                return SetImplicit(i, BySize(OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI));
            case Kind.es_rDI:
                return SetImplicit(i, BySize(OpKind.MemoryESDI, OpKind.MemoryESEDI, OpKind.MemoryESRDI));
            case Kind.seg_rDI:
                return SetImplicit(i, BySize(OpKind.MemorySegDI, OpKind.MemorySegEDI, OpKind.MemorySegRDI));
            case Kind.seg_rBX_al:
                _instruction.MemoryBase = BySize(Register.BX, Register.EBX, Register.RBX);
                _instruction.MemoryIndex = Register.AL;
                return SetImplicit(i, OpKind.Memory);
            case Kind.br16_1 or Kind.br32_1 or Kind.br64_1:
                return SetBranch(i, kind == Kind.br16_1 ? OpKind.NearBranch16 : Wide ? OpKind.NearBranch64 : OpKind.NearBranch32, image.Rip + (random.OneIn(2) ? 15UL + (ulong)random.Below(100) : 0UL - (ulong)random.Below(100) - 1));
            case Kind.br16_2 or Kind.br32_4 or Kind.br64_4:
                return SetBranch(i, kind == Kind.br16_2 ? OpKind.NearBranch16 : Wide ? OpKind.NearBranch64 : OpKind.NearBranch32, CodeTarget());
            default:
                return false;
        }
    }

    /// <summary>An offset in the code segment at which an INT3 stands.</summary>
    public ulong CodeTarget() => Arena.Code - image.Segments.CodeBase + (random.OneIn(2) ? 0UL : 0xFA0) + (ulong)random.Below(0x60);

    private int SmallOrRandom() => random.OneIn(2) ? random.Below(72) : random.Below(256);

    private bool SetRegister(int i, Register register)
    {
        _instruction.SetOpKind(i, OpKind.Register);
        _instruction.SetOpRegister(i, register);
        return true;
    }

    private bool SetByte(int i, byte value)
    {
        for (int other = 0; other < i; other++)
        {
            if (_instruction.GetOpKind(other) is OpKind.Immediate8 or OpKind.Immediate16)
            {
                _instruction.SetOpKind(i, OpKind.Immediate8_2nd);
                _instruction.Immediate8_2nd = (byte)(_info.Mnemonic == Mnemonic.Enter ? random.Below(6) : value);
                return true;
            }
        }

        _instruction.SetOpKind(i, OpKind.Immediate8);
        _instruction.Immediate8 = value;
        return true;
    }

    private bool SetImplicit(int i, OpKind kind)
    {
        _instruction.SetOpKind(i, kind);
        return true;
    }

    private T BySize<T>(T word, T dword, T qword) => AddressSize switch
    {
        16 => word,
        32 => dword,
        _ => qword,
    };

    private bool SetBranch(int i, OpKind kind, ulong target)
    {
        _instruction.SetOpKind(i, kind);
        _instruction.NearBranch64 = target;
        return true;
    }

    private bool SetMemory(int i, Kind kind, Register vectorIndex)
    {
        _instruction.SetOpKind(i, OpKind.Memory);
        if (_info.CanBroadcast && random.OneIn(3))
        {
            _instruction.IsBroadcast = true;
        }

        int size = Math.Max(1, _instruction.MemorySize.GetSize());
        if (_instruction.MemorySize == MemorySize.Unknown)
        {
            size = 64;
        }

        if (vectorIndex != Register.None)
        {
            return SetVectorAddress(vectorIndex, kind is Kind.mem_vsib32x or Kind.mem_vsib32y or Kind.mem_vsib32z);
        }

        bool low = AddressSize < 64 || random.OneIn(2);
        ulong offset = placement.Choose(random, size, low) - image.Segments.DataBase;
        if (AddressSize == 16)
        {
            // In a flat segment nothing is mapped there: the fault tells where it would have been.
            offset &= 0xFFFF;
        }

        Target = image.Segments.DataBase + offset;

        if (kind == Kind.mem_offs)
        {
            _instruction.MemoryDisplSize = AddressSize / 8;
            _instruction.MemoryDisplacement64 = offset;
            return true;
        }

        if (random.OneIn(20))
        {
            _instruction.SegmentPrefix = random.Pick(Register.ES, Register.CS, Register.SS, Register.DS);
        }

        if (AddressSize == 16)
        {
            return SetAddress16(offset);
        }

        bool near = offset <= int.MaxValue;
        int form = random.Below(8);
        if (form == 0 && near && Wide)
        {
            _instruction.MemoryBase = BySize(default, Register.EIP, Register.RIP);
            _instruction.MemoryDisplSize = AddressSize / 8;
            _instruction.MemoryDisplacement64 = offset;
            return true;
        }

        if (form == 1 && near)
        {
            int index = random.OneIn(3) ? -1 : IndexRegister();
            ulong value = (ulong)random.Below(0x1000);
            int scale = 1 << random.Below(4);
            SetAddress(-1, index, scale, offset - (index < 0 ? 0 : value * (ulong)scale), force32: true);
            Assign(index, value);
            return true;
        }

        int baseRegister = random.Below(Registers);
        int disp = random.Pick(0, (sbyte)random.Next(), (sbyte)random.Next(), (short)random.Next(), (int)random.Next() >> 2);
        if (form < 5)
        {
            SetAddress(baseRegister, -1, 1, (ulong)disp, force32: false);
            Assign(baseRegister, offset - (ulong)disp);
            return true;
        }

        int indexRegister = IndexRegister();
        int factor = 1 << random.Below(4);
        if (indexRegister == baseRegister)
        {
            ulong value = (offset / (ulong)(1 + factor)) - (ulong)random.Below(64);
            ulong rest = offset - (value * (ulong)(1 + factor));
            SetAddress(baseRegister, baseRegister, factor, rest, force32: false);
            Assign(baseRegister, value);
            return (long)rest == (int)rest;
        }

        ulong indexValue = random.OneIn(2) ? (ulong)random.Below(100) : random.Interesting();
        SetAddress(baseRegister, indexRegister, factor, (ulong)disp, force32: false);
        Assign(indexRegister, indexValue);
        Assign(baseRegister, offset - (ulong)disp - (indexValue * (ulong)factor));
        return true;
    }

    private bool SetVectorAddress(Register index, bool narrow)
    {
        // A base in the middle of the writable pages, and lanes that reach a little beyond them.
        AddressSize = Math.Max(32, image.Bitness);
        int scale = 1 << random.Below(4);
        bool high = Wide && random.OneIn(2);
        ulong middle = (high ? Arena.High : Arena.Data + 0x1000) + 0x1000 - image.Segments.DataBase;
        int disp = random.Pick(0, (sbyte)random.Next(), (short)random.Next());
        int baseRegister = random.Below(Registers);
        SetAddress(baseRegister, -1, scale, (ulong)disp, force32: false);
        _instruction.MemoryIndex = index;
        Assign(baseRegister, middle - (ulong)disp);
        int reach = (placement == Placement.Edges || random.OneIn(6) ? 0x1400 : 0xF80) / scale;
        Span<byte> lanes = stackalloc byte[64];
        int lane = narrow ? 4 : 8;
        for (int i = 0; i < 64; i += lane)
        {
            int value = random.Below(2 * reach) - reach;
            if (narrow)
            {
                BinaryPrimitives.WriteInt32LittleEndian(lanes[i..], value);
            }
            else
            {
                BinaryPrimitives.WriteInt64LittleEndian(lanes[i..], value);
            }
        }

        XsaveLayout.WriteVector(image.Xsave, index.GetNumber(), lanes);
        return true;
    }

    /// <summary>BX or BP, SI or DI, both or neither (Intel SDM volume 2, table 2-1).</summary>
    private bool SetAddress16(ulong offset)
    {
        int form = random.Below(4);
        int disp = form == 0 ? (int)offset : random.Pick(0, (sbyte)random.Next(), (short)random.Next());
        ulong rest = offset - (ulong)disp;
        if ((form & 1) != 0)
        {
            bool bp = random.OneIn(2);
            ulong part = form == 3 ? random.Next() & 0xFFFF : rest;
            _instruction.MemoryBase = bp ? Register.BP : Register.BX;
            Assign(bp ? 5 : 3, (part & 0xFFFF) | (random.Next() << 16));
            rest -= part;
        }

        if ((form & 2) != 0)
        {
            bool di = random.OneIn(2);
            Register register = di ? Register.DI : Register.SI;
            _instruction.MemoryIndex = form == 3 ? register : Register.None;
            _instruction.MemoryBase = form == 3 ? _instruction.MemoryBase : register;
            Assign(di ? 7 : 6, (rest & 0xFFFF) | (random.Next() << 16));
        }

        _instruction.MemoryDisplacement64 = (ushort)disp;
        _instruction.MemoryDisplSize = form == 0 ? 2 : disp == 0 && _instruction.MemoryBase != Register.BP ? 0 : disp == (sbyte)disp ? 1 : 2;
        return true;
    }

    private int IndexRegister()
    {
        int index = random.Below(Registers);
        return index == 4 ? Registers - 1 : index;
    }

    private void SetAddress(int baseRegister, int index, int scale, ulong disp, bool force32)
    {
        Register first = BySize(default, Register.EAX, Register.RAX);
        _instruction.MemoryBase = baseRegister < 0 ? Register.None : first + baseRegister;
        _instruction.MemoryIndex = index < 0 ? Register.None : first + index;
        _instruction.MemoryIndexScale = scale;
        _instruction.MemoryDisplacement64 = AddressSize == 32 ? (uint)disp : disp;
        bool fits = (long)disp == (sbyte)disp;
        _instruction.MemoryDisplSize = disp == 0 && !force32 ? 0 : fits && !force32 ? 1 : AddressSize / 8;
    }

    private void Assign(int register, ulong value)
    {
        if (register < 0)
        {
            return;
        }

        image.Gpr[register] = AddressSize == 64 ? value : (uint)value | (random.Next() << 32);
        _locked |= 1 << register;
    }

    private void Decorate()
    {
        bool memory = Target != 0 || _instruction.IsVsib;
        if (_info.CanUseOpMaskRegister && (_info.RequireOpMaskRegister || !random.OneIn(3)))
        {
            _instruction.OpMask = Register.K1 + random.Below(7);
            _instruction.ZeroingMasking = _info.CanUseZeroingMasking && random.OneIn(2);
        }

        if (!memory && _info.CanUseRoundingControl && random.OneIn(3))
        {
            _instruction.RoundingControl = RoundingControl.RoundToNearest + random.Below(4);
        }
        else if (!memory && _info.CanSuppressAllExceptions && random.OneIn(3))
        {
            _instruction.SuppressAllExceptions = true;
        }

        if (_info.CanUseLockPrefix && memory && random.OneIn(2))
        {
            _instruction.HasLockPrefix = true;
        }

        if (_info.CanUseRepPrefix && random.OneIn(2))
        {
            _instruction.HasRepPrefix = true;
        }
        else if (_info.CanUseRepnePrefix && random.OneIn(3))
        {
            _instruction.HasRepnePrefix = true;
        }
    }
}
