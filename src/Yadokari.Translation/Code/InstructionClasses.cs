using Iced.Intel;
using Yadokari.Translation.Emulation;
using Yadokari.X86.Sensitive;

namespace Yadokari.Translation.Code;

/// <summary>How the translator treats an instruction.</summary>
internal enum Treatment : byte
{
    /// <summary>Innocuous: copied with registers renamed and the memory operand redirected.</summary>
    Native,

    /// <summary>Sensitive, or with memory operands that can't be redirected: emulated in C#.</summary>
    Emulate,

    /// <summary>A near transfer of control, expanded by the translator.</summary>
    Flow,

    /// <summary>Uses the stack implicitly; expanded by the translator.</summary>
    Stack,

    /// <summary>LEA: an address without an access.</summary>
    Address,

    /// <summary>No architectural effect: NOP with a memory operand, prefetches. No code is emitted.</summary>
    Nothing,

    /// <summary>BT, BTS, BTR, BTC with a register bit offset: the address depends on the bit.</summary>
    BitString,

    /// <summary>Sensitive, but its common case is expanded by the translator; the rest is emulated.</summary>
    Inline,

    /// <summary>As <see cref="Inline"/>, for SYSCALL and SYSRET, which end a block.</summary>
    FastCall,
}

/// <summary>Tables of properties of instructions, indexed by Iced's <see cref="Code"/>. Filled when the engine starts. Any thread.</summary>
internal static class InstructionClasses
{
    [Flags]
    private enum Traits : byte
    {
        None = 0,
        Simd = 1,
        Avx = 2,
        Avx512 = 4,
        ConditionalFlags = 8,
        Sse = 16,
        WaitsForX87 = 32,
        SetsX87Pointers = 64,
        MayMisalign = 128,
    }

    private static readonly Treatment[] s_treatments = new Treatment[(int)Enum.GetValues<Iced.Intel.Code>().Max() + 1];
    private static readonly Traits[] s_traits = new Traits[(int)Enum.GetValues<Iced.Intel.Code>().Max() + 1];
    private static readonly byte[] s_alignments = new byte[(int)Enum.GetValues<Iced.Intel.Code>().Max() + 1];

    static InstructionClasses()
    {
        foreach (Iced.Intel.Code code in Enum.GetValues<Iced.Intel.Code>())
        {
            s_treatments[(int)code] = Find(code);
            s_traits[(int)code] = FindTraits(code);
            s_alignments[(int)code] = (byte)FindAlignment(code);
            s_traits[(int)code] |= s_alignments[(int)code] != 0 && !IsAlignedMove(code) ? Traits.MayMisalign : Traits.None;
        }
    }

    public static Treatment TreatmentOf(Iced.Intel.Code code) => s_treatments[(int)code];

    /// <summary>Touches x87, MMX, SSE or AVX state.</summary>
    public static bool UsesSimd(Iced.Intel.Code code) => (s_traits[(int)code] & Traits.Simd) != 0;

    /// <summary>Legacy encoded with XMM registers or MXCSR: needs CR4.OSFXSR (SDM 3A 2.5).</summary>
    public static bool IsSse(Iced.Intel.Code code) => (s_traits[(int)code] & Traits.Sse) != 0;

    /// <summary>VEX encoded with vector registers.</summary>
    public static bool IsAvx(Iced.Intel.Code code) => (s_traits[(int)code] & Traits.Avx) != 0;

    /// <summary>EVEX encoded, or works on mask registers.</summary>
    public static bool IsAvx512(Iced.Intel.Code code) => (s_traits[(int)code] & Traits.Avx512) != 0;

    /// <summary>
    /// Whether an instruction takes a pending x87 exception before it executes (SDM 1 8.6, 9.6.2): waiting x87 instructions, and instructions with an
    /// MMX register, except CVTPI2PS and CVTPI2PD from memory.
    /// </summary>
    public static bool WaitsForX87(in Instruction instruction)
    {
        bool waits = (s_traits[(int)instruction.Code] & Traits.WaitsForX87) != 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            waits |= instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsMM();
        }

        return waits;
    }

    /// <summary>Whether an x87 instruction updates the instruction pointer FIP: all except control instructions (SDM 1 8.1.8).</summary>
    public static bool SetsX87Pointers(Iced.Intel.Code code) => (s_traits[(int)code] & Traits.SetsX87Pointers) != 0;

    /// <summary>Whether an instruction's opcode is one of the x87's escapes, D8 to DF.</summary>
    public static bool IsX87(Iced.Intel.Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        return info.Encoding == EncodingKind.Legacy && info.Table == OpCodeTableKind.Normal
            && (info.OpCodeLength == 2 ? info.OpCode >> 8 : info.OpCode) is >= 0xD8 and <= 0xDF;
    }

    /// <summary>Whether an instruction preserves all flags if its count is 0: shifts and rotates.</summary>
    public static bool MayKeepFlags(Iced.Intel.Code code) => (s_traits[(int)code] & Traits.ConditionalFlags) != 0;

    /// <summary>Alignment in bytes of the explicit memory operand, without which #GP is raised (SDM 2A 2.4, AMD APM 1 4.3.2); 1 for none.</summary>
    public static int AlignmentOf(Iced.Intel.Code code) => Math.Max(1, (int)s_alignments[(int)code]);

    /// <summary>Whether MXCSR.MM of AMD's processors permits a misaligned operand (AMD APM 1 4.2.2).</summary>
    public static bool MayMisalign(Iced.Intel.Code code) => (s_traits[(int)code] & Traits.MayMisalign) != 0;

    private static int FindAlignment(Iced.Intel.Code code)
    {
        int size = new Instruction { Code = code }.MemorySize.GetSize();
        bool legacy = size == 16 && IsSse(code) && code.Mnemonic() is not (Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu
            or Mnemonic.Pcmpestri or Mnemonic.Pcmpestri64 or Mnemonic.Pcmpestrm or Mnemonic.Pcmpestrm64 or Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm
            or Mnemonic.Maskmovdqu or Mnemonic.Sha1msg1 or Mnemonic.Sha1msg2 or Mnemonic.Sha1nexte or Mnemonic.Sha1rnds4 or Mnemonic.Sha256msg1
            or Mnemonic.Sha256msg2 or Mnemonic.Sha256rnds2);
        return legacy || IsAlignedMove(code) ? size : 0;
    }

    private static bool IsAlignedMove(Iced.Intel.Code code) => code.Mnemonic()
        is Mnemonic.Movaps or Mnemonic.Movapd or Mnemonic.Movdqa or Mnemonic.Movntps or Mnemonic.Movntpd or Mnemonic.Movntdq or Mnemonic.Movntdqa
        or Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa or Mnemonic.Vmovdqa32 or Mnemonic.Vmovdqa64 or Mnemonic.Vmovntps
        or Mnemonic.Vmovntpd or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa or Mnemonic.Cmpxchg16b;

    private static Treatment Find(Iced.Intel.Code code)
    {
        Mnemonic mnemonic = code.Mnemonic();
        switch (mnemonic)
        {
            case Mnemonic.INVALID or Mnemonic.Db:
                return Treatment.Emulate;
            case Mnemonic.Clzero or Mnemonic.Movdir64b or Mnemonic.Umonitor or Mnemonic.Monitorx or Mnemonic.Xstore or Mnemonic.Xstore_alt or Mnemonic.Montmul
                or Mnemonic.Xsha1 or Mnemonic.Xsha256 or Mnemonic.Xsha512 or Mnemonic.Xsha512_alt or Mnemonic.Xcryptecb or Mnemonic.Xcryptcbc
                or Mnemonic.Xcryptctr or Mnemonic.Xcryptcfb or Mnemonic.Xcryptofb or Mnemonic.Ccs_hash or Mnemonic.Ccs_encrypt:
                // Implicit memory operands can't be redirected: copied, the instruction would access the host's memory.
                return Treatment.Emulate;
            case Mnemonic.Lea:
                return Treatment.Address;
            case Mnemonic.Pause:
                return Treatment.Native;
            case Mnemonic.Nop or Mnemonic.Endbr64 or Mnemonic.Endbr32 or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2
                or Mnemonic.Prefetchnta or Mnemonic.Prefetchw or Mnemonic.Prefetch or Mnemonic.Prefetchwt1 or Mnemonic.Prefetchit0
                or Mnemonic.Prefetchit1 or Mnemonic.Cldemote or Mnemonic.Reservednop:
                return Treatment.Nothing;

            // NOPs, because guests have no MPX.
            case Mnemonic.Bndmk or Mnemonic.Bndcl or Mnemonic.Bndcu or Mnemonic.Bndcn or Mnemonic.Bndmov
                or Mnemonic.Bndldx or Mnemonic.Bndstx:
                return Treatment.Nothing;
            case Mnemonic.Push or Mnemonic.Pop when code is Iced.Intel.Code.Push_r64 or Iced.Intel.Code.Push_rm64 or Iced.Intel.Code.Pushq_imm8
                or Iced.Intel.Code.Pushq_imm32 or Iced.Intel.Code.Pop_r64 or Iced.Intel.Code.Push_r32 or Iced.Intel.Code.Push_rm32
                or Iced.Intel.Code.Pushd_imm8 or Iced.Intel.Code.Pushd_imm32 or Iced.Intel.Code.Pop_r32:
            case Mnemonic.Leave when code is Iced.Intel.Code.Leaveq or Iced.Intel.Code.Leaved:
                return Treatment.Stack;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc when code.ToOpCode().Op1Kind is OpCodeOperandKind.r16_reg
                or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r64_reg:
                return Treatment.BitString;
        }

        Treatment flow = code.FlowControl() switch
        {
            FlowControl.UnconditionalBranch => code.IsJmpShortOrNear() ? Treatment.Flow : Treatment.Emulate,
            FlowControl.ConditionalBranch => code.IsJccShortOrNear() ? Treatment.Flow : Treatment.Emulate,
            FlowControl.Call => code is Iced.Intel.Code.Call_rel32_64 or Iced.Intel.Code.Call_rel32_32 ? Treatment.Flow : Treatment.Emulate,
            FlowControl.IndirectBranch => code is Iced.Intel.Code.Jmp_rm64 or Iced.Intel.Code.Jmp_rm32 ? Treatment.Flow : Treatment.Emulate,
            FlowControl.IndirectCall => code is Iced.Intel.Code.Call_rm64 or Iced.Intel.Code.Call_rm32 ? Treatment.Flow : Treatment.Emulate,
            FlowControl.Return => code is Iced.Intel.Code.Retnq or Iced.Intel.Code.Retnq_imm16 or Iced.Intel.Code.Retnd or Iced.Intel.Code.Retnd_imm16 ? Treatment.Flow : Treatment.Emulate,
            FlowControl.Next => Treatment.Native,
            _ => Treatment.Emulate,
        };

        if (flow != Treatment.Native)
        {
            return flow;
        }

        return SensitiveInstructions.Classify(code) != SensitivityClass.Innocuous || Emulator.Handles(code) ? Treatment.Emulate : Treatment.Native;
    }

    private static Traits FindTraits(Iced.Intel.Code code)
    {
        Traits traits = Traits.None;
        EncodingKind encoding = code.Encoding();
        OpCodeInfo info = code.ToOpCode();
        bool vector = false;
        bool xmm = false;
        for (int i = 0; i < info.OpCount; i++)
        {
            string kind = info.GetOpKind(i).ToString();
            xmm |= kind.Contains("xmm");
            vector |= kind.StartsWith("mm") || kind.Contains("xmm") || kind.Contains("ymm") || kind.Contains("zmm") || kind.StartsWith("st") || kind.StartsWith('k') || kind.Contains("_k") || kind.Contains("vsib");
        }

        bool x87 = false;
        foreach (CpuidFeature feature in code.CpuidFeatures())
        {
            string name = feature.ToString();
            x87 |= name.Contains("FPU") || name.StartsWith("MMX") || name.StartsWith("D3NOW");
            vector |= name.StartsWith("SSE") && name != "SSE2_CLFLUSH" && code.Mnemonic() is Mnemonic.Ldmxcsr or Mnemonic.Stmxcsr;
        }

        if (vector || x87 || code.Mnemonic() is Mnemonic.Emms or Mnemonic.Vzeroupper or Mnemonic.Vzeroall or Mnemonic.Wait or Mnemonic.Vldmxcsr or Mnemonic.Vstmxcsr or Mnemonic.Ldmxcsr or Mnemonic.Stmxcsr)
        {
            traits |= Traits.Simd;
            if (encoding == EncodingKind.Legacy && (xmm || code.Mnemonic() is Mnemonic.Ldmxcsr or Mnemonic.Stmxcsr))
            {
                traits |= Traits.Sse;
            }

            if (encoding is EncodingKind.VEX or EncodingKind.XOP)
            {
                traits |= Traits.Avx;
            }
        }

        bool isX87 = IsX87(code);
        bool unwaiting = code.Mnemonic() is Mnemonic.Fninit or Mnemonic.Fnclex or Mnemonic.Fnstcw or Mnemonic.Fnstsw or Mnemonic.Fnstenv
            or Mnemonic.Fnsave or Mnemonic.Fneni or Mnemonic.Fndisi or Mnemonic.Fnsetpm;
        if ((isX87 && !unwaiting) || code.Mnemonic() is Mnemonic.Wait or Mnemonic.Emms or Mnemonic.Femms)
        {
            traits |= Traits.WaitsForX87;
        }

        if (isX87 && !unwaiting && code.Mnemonic() is not (Mnemonic.Fldcw or Mnemonic.Fldenv or Mnemonic.Frstor))
        {
            traits |= Traits.SetsX87Pointers;
        }

        if (encoding is EncodingKind.EVEX or EncodingKind.MVEX || info.IsOpMask())
        {
            traits |= Traits.Avx512 | Traits.Simd;
        }

        if (code.Mnemonic() is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr
            or Mnemonic.Shld or Mnemonic.Shrd)
        {
            traits |= Traits.ConditionalFlags;
        }

        return traits;
    }

    private static bool IsOpMask(this OpCodeInfo info)
    {
        for (int i = 0; i < info.OpCount; i++)
        {
            if (info.GetOpKind(i) is OpCodeOperandKind.k_reg or OpCodeOperandKind.k_rm or OpCodeOperandKind.k_vvvv or OpCodeOperandKind.kp1_reg
                or OpCodeOperandKind.k_or_mem)
            {
                return true;
            }
        }

        return false;
    }
}
