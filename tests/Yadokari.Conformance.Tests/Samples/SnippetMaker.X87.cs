using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>
/// Programs of the x87, MMX and SSE whose exceptions are often not masked: what is pending is taken by the next instruction that looks, and
/// environments saved between tell control, status, tags, pointers and opcode. RSI points to where XSAVE areas may stand.
/// </summary>
public sealed partial class SnippetMaker
{
    private static readonly Code[] s_x87Plain =
    [
        Code.Fld1, Code.Fldz, Code.Fldpi, Code.Fldl2t, Code.Fchs, Code.Fabs, Code.Ftst, Code.Fxam, Code.Fsqrt, Code.Frndint, Code.Fscale, Code.Fdecstp,
        Code.Fincstp, Code.Fnop, Code.Fxtract, Code.Fprem, Code.Fcompp, Code.Fnclex, Code.Fnclex, Code.Fninit, Code.Wait, Code.Emms, Code.Fnsetpm,
    ];

    private static readonly Code[] s_x87Stack =
    [
        Code.Fadd_st0_sti, Code.Fmul_st0_sti, Code.Fdiv_st0_sti, Code.Fdivr_sti_st0, Code.Fsubp_sti_st0, Code.Fdivp_sti_st0, Code.Fxch_st0_sti,
        Code.Fcomi_st0_sti, Code.Fcmove_st0_sti, Code.Fucom_st0_sti,
    ];

    private static readonly Code[] s_x87One = [Code.Fld_sti, Code.Fst_sti, Code.Fstp_sti, Code.Ffree_sti, Code.Ffreep_sti];

    private static readonly Code[] s_x87Memory =
    [
        Code.Fld_m32fp, Code.Fld_m64fp, Code.Fld_m80fp, Code.Fst_m32fp, Code.Fst_m64fp, Code.Fstp_m64fp, Code.Fstp_m80fp, Code.Fild_m16int, Code.Fild_m64int,
        Code.Fist_m32int, Code.Fistp_m16int, Code.Fistp_m64int, Code.Fisttp_m32int, Code.Fbld_m80bcd, Code.Fbstp_m80bcd, Code.Fadd_m32fp, Code.Fmul_m64fp,
        Code.Fdiv_m64fp, Code.Fidiv_m32int, Code.Fisub_m16int, Code.Fcom_m64fp, Code.Fnstcw_m2byte, Code.Fnstsw_m2byte, Code.Fldcw_m2byte,
    ];

    private static readonly Code[] s_environment =
    [
        Code.Fnstenv_m28byte, Code.Fnstenv_m28byte, Code.Fnstenv_m14byte, Code.Fldenv_m28byte, Code.Fldenv_m14byte, Code.Fnsave_m108byte, Code.Fnsave_m94byte,
        Code.Frstor_m108byte, Code.Frstor_m94byte,
    ];

    private static readonly Code[] s_mmx =
        [Code.Paddb_mm_mmm64, Code.Pmullw_mm_mmm64, Code.Movq_mm_mmm64, Code.Pshufb_mm_mmm64, Code.Paddq_mm_mmm64, Code.Punpcklbw_mm_mmm32];

    private static readonly Code[] s_between =
        [Code.Cvtpi2ps_xmm_mmm64, Code.Cvtpi2pd_xmm_mmm64, Code.Cvtps2pi_mm_xmmm64, Code.Cvttpd2pi_mm_xmmm128, Code.Movq2dq_xmm_mm, Code.Movdq2q_mm_xmm];

    private static readonly Code[] s_sse =
    [
        Code.Divps_xmm_xmmm128, Code.Sqrtpd_xmm_xmmm128, Code.Addss_xmm_xmmm32, Code.Mulsd_xmm_xmmm64, Code.Cvtdq2ps_xmm_xmmm128, Code.Cvtpd2ps_xmm_xmmm128,
        Code.Minps_xmm_xmmm128, Code.Comiss_xmm_xmmm32, Code.Cvtps2dq_xmm_xmmm128,
    ];

    private void Environment()
    {
        bool loops = _random.OneIn(3);
        Label top = _code.CreateLabel();
        if (loops)
        {
            _code.mov(Counter, 1 + _random.Below(4));
            _code.Label(ref top);
        }

        for (int i = 3 + _random.Below(10); i > 0; i--)
        {
            OneOfEnvironment();
            if (_random.OneIn(6))
            {
                Label skip = _code.CreateLabel();
                Jump(skip);
                OneOfEnvironment();
                _code.Label(ref skip);
                _code.nop();
            }
        }

        if (loops)
        {
            _code.dec(Counter);
            _code.jne(top);
        }

        Store(Code.Fnstenv_m28byte);
        _code.int3();
    }

    private void OneOfEnvironment()
    {
        switch (_random.Below(21))
        {
            case 0 or 1 or 2:
                Add(Instruction.Create(_random.Pick<Code>(s_x87Plain)));
                break;
            case 3 or 4:
                Code code = _random.Pick<Code>(s_x87Stack);
                bool top = code.ToOpCode().Op0Kind == OpCodeOperandKind.st0;
                Register other = Register.ST0 + _random.Below(8);
                Add(Instruction.Create(code, top ? Register.ST0 : other, top ? other : Register.ST0));
                break;
            case 5:
                Add(Instruction.Create(_random.Pick<Code>(s_x87One), Register.ST0 + _random.Below(8)));
                break;
            case 6 or 7 or 8:
                Store(_random.Pick<Code>(s_x87Memory));
                break;
            case 9 or 10:
                Store(_random.Pick<Code>(s_environment));
                break;
            case 11:
                // What is loaded is mostly what was saved, here and there with other bits.
                Code save = _random.Pick(Code.Fnstenv_m28byte, Code.Fnsave_m108byte);
                MemoryOperand where = Operand();
                Add(Instruction.Create(save, where));
                MemoryOperand word = At(where.Base, where.Displacement + (_random.Below(7) * 2));
                Add(Instruction.Create(Code.Mov_rm16_imm16, word, _random.Below(0x10000)));
                Add(Instruction.Create(save == Code.Fnstenv_m28byte ? Code.Fldenv_m28byte : Code.Frstor_m108byte, where));
                break;
            case 12:
                SetControl(Code.Fldcw_m2byte, Code.Mov_rm16_imm16, 0x340 | (0x3F & ~(1 << _random.Below(6))));
                break;
            case 13:
                int flags = _random.OneIn(4) ? 1 << (16 + _random.Below(3)) : 0;
                SetControl(Code.Ldmxcsr_m32, Code.Mov_rm32_imm32, 0x1F80 ^ (_random.OneIn(2) ? 0x80 << _random.Below(9) : 0) ^ _random.Below(64) ^ flags);
                break;
            case 14:
                MoveMmx();
                break;
            case 15:
                Code sse = _random.Pick<Code>(s_sse);
                Register vector = Register.XMM0 + _random.Below(8);
                Add(_random.OneIn(2) ? Instruction.Create(sse, vector, Register.XMM0 + _random.Below(8)) : Instruction.Create(sse, vector, Operand(present: true)));
                break;
            case 16:
                SaveAll();
                break;
            case 17:
                _code.fnstsw(ax);
                break;
            case 19:
                MoveRegisters();
                break;
            case 18 when Wide:
                // How code finds itself.
                Add(Instruction.Create(Code.Fnstenv_m28byte, At(Register.RSP, -12)));
                _code.pop(rdx);
                break;
            default:
                MemoryOperand memory = Operand();
                Add(_random.OneIn(2) ? Instruction.Create(Code.Stmxcsr_m32, memory)
                    : Instruction.Create(Code.Add_rm32_imm8, At(memory.Base, memory.Displacement), _random.Below(100)));
                break;
        }
    }

    // What addresses are made of changes while the operand is still to be told, and flags are kept over it.
    private void MoveRegisters()
    {
        Code copy = Wide ? Code.Mov_r64_rm64 : Code.Mov_r32_rm32;
        Code add = Wide ? Code.Add_rm64_imm8 : Code.Add_rm32_imm8;
        Register top = Wide ? Register.RAX : Register.EAX;
        Add(Instruction.Create(copy, top, Wide ? Register.RBX : Register.EBX));
        Add(Instruction.Create(Code.Cmp_rm32_imm8, Register.EDX, _random.Below(100)));
        Add(Instruction.Create(_random.Pick(Code.Fld_m64fp, Code.Fst_m32fp, Code.Fdiv_m64fp, Code.Fistp_m32int), At(top, _random.Below(100))));
        if (_random.OneIn(2))
        {
            Store(_random.Pick(Code.Fnstcw_m2byte, Code.Stmxcsr_m32));
        }

        if (_random.OneIn(2))
        {
            Label skip = _code.CreateLabel();
            Jump(skip);
            Add(Instruction.Create(_random.Pick(Code.Fld1, Code.Fsqrt, Code.Wait)));
            _code.Label(ref skip);
        }

        Add(Instruction.Create(add, _random.Pick(top, Wide ? Register.RBX : Register.EBX, Wide ? Register.R10 : Register.ECX), _random.Below(32) & ~3));
    }

    private void SaveAll()
    {
        MemoryOperand area = At(Wide ? Register.RSI : Register.ESI, _random.Below(3) * 64);
        bool wide = Wide && _random.OneIn(2);
        Add(Instruction.Create(wide ? Code.Fxsave64_m512byte : Code.Fxsave_m512byte, area));
        if (_random.OneIn(2))
        {
            MemoryOperand word = At(area.Base, area.Displacement + (_random.Below(80) * 2));
            Add(Instruction.Create(Code.Mov_rm16_imm16, word, _random.Below(0x10000)));
        }

        if (_random.OneIn(2))
        {
            Add(Instruction.Create(wide ? Code.Fxrstor64_m512byte : Code.Fxrstor_m512byte, area));
        }
    }

    private void MoveMmx()
    {
        Register to = Register.MM0 + _random.Below(8);
        Register from = Register.MM0 + _random.Below(8);
        Register vector = Register.XMM0 + _random.Below(8);
        switch (_random.Below(8))
        {
            case 0:
                Add(Instruction.Create(Code.Movq_mmm64_mm, Operand(), from));
                break;
            case 1:
                Add(Instruction.Create(Code.Movntq_m64_mm, Operand(), from));
                break;
            case 2:
                Add(Instruction.Create(Code.Palignr_mm_mmm64_imm8, to, from, _random.Below(20)));
                break;
            case 3:
                Add(Instruction.Create(Code.Pmovmskb_r32_mm, Register.EAX, from));
                break;
            case 4:
                Code both = _random.Pick<Code>(s_between);
                bool out_ = both.ToOpCode().Op0Kind == OpCodeOperandKind.xmm_reg;
                bool registers = both is Code.Movq2dq_xmm_mm or Code.Movdq2q_mm_xmm || _random.OneIn(2);
                Add(registers ? Instruction.Create(both, out_ ? vector : to, out_ ? from : vector) : Instruction.Create(both, out_ ? vector : to, Operand(present: true)));
                break;
            case 5:
                Add(Instruction.Create(_random.Pick<Code>(s_mmx), to, Operand()));
                break;
            default:
                Add(Instruction.Create(_random.Pick<Code>(s_mmx), to, from));
                break;
        }
    }

    private void SetControl(Code load, Code move, int value)
    {
        MemoryOperand memory = Operand();
        Add(Instruction.Create(move, memory, value));
        Add(Instruction.Create(load, memory));
    }

    private void Store(Code code) => Add(Instruction.Create(code, Operand()));

    // Near RBX; at times by two registers or at a fixed address, misaligned, where nothing is, or at no canonical address.
    private MemoryOperand Operand(bool present = false)
    {
        int displacement = _random.Below(300) - 150;
        switch (present ? 23 : _random.Below(24))
        {
            case 0:
                return At(Wide ? Register.RBP : Register.EBP, displacement);
            case 1 when Wide:
                return At(Register.R11, displacement);
            case 2 or 3:
                return new MemoryOperand(Wide ? Register.RBX : Register.EBX, Wide ? Register.R10 : Register.ECX, 1, displacement, Wide ? 8 : 4);
            case 4:
                return At(Register.None, (long)Arena.Data + 0x1F80 + displacement);
            case 5:
                return At(Wide ? Register.RSP : Register.ESP, -_random.Below(200) - 120);
            default:
                return At(Wide ? Register.RBX : Register.EBX, displacement & ~(_random.OneIn(2) ? 15 : 0));
        }
    }

    private MemoryOperand At(Register register, long displacement) => new(register, displacement, Wide ? 8 : 4);

    private void Add(Instruction instruction) => _code.AddInstruction(instruction);

    // Registers as the programs above use them.
    private void PrepareEnvironment(MachineImage image)
    {
        image.Gpr[3] = (Wide && _random.OneIn(3) ? Arena.High : Arena.Data + 0x1000) + 0xF00 + (ulong)(_random.OneIn(2) ? _random.Below(0x100) & ~15 : _random.Below(0x100));
        image.Gpr[4] = Arena.Data + 0x5800;
        image.Gpr[6] = Arena.Data + (_random.OneIn(3) ? 0x1F00UL : 0x1200) + (_random.OneIn(12) ? 8UL : 0);
        image.Gpr[1] = image.Gpr[10] = (ulong)(_random.Below(100) * 4);
        image.Gpr[5] = _random.Pick(Arena.Data + 0x3F80, Arena.Data + 0x4000, Arena.Data + 0x6000);
        image.Gpr[11] = _random.Pick(0x7FFF_FFFF_F000UL, 0x8000_0000_0000_0000UL, Arena.Data + 0x6000);
        image.Xsave[1] &= 0x1F;
        if (_random.OneIn(2))
        {
            // Something may be pending at once.
            image.Xsave[0] = (byte)((image.Xsave[0] & _random.Next()) | 0x40);
            image.Xsave[2] |= (byte)(_random.Next() & 0x3F);
            int pending = (image.Xsave[2] & ~image.Xsave[0] & 0x3F) != 0 ? 0x80 : 0;
            image.Xsave[2] = (byte)((image.Xsave[2] & 0x7F) | pending);
            image.Xsave[3] = (byte)((image.Xsave[3] & 0x7F) | pending);
        }
    }
}
