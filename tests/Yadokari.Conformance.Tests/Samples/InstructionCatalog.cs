using Iced.Intel;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>Kinds of instructions that are tested, and reported, together.</summary>
public enum InstructionGroup
{
    /// <summary>Moves and arithmetic on general-purpose registers, locked ones too.</summary>
    Integer,

    /// <summary>Shifts and rotates.</summary>
    Shifts,

    /// <summary>Bit tests, scans, counts and BMI.</summary>
    Bits,

    /// <summary>String instructions with and without repeat prefixes.</summary>
    String,

    /// <summary>PUSH, POP, ENTER, LEAVE, also PUSHF and POPF.</summary>
    Stack,

    /// <summary>Near jumps, calls, returns, loops, INT3.</summary>
    Branches,

    /// <summary>SSE to SSE4, AES, SHA and the like in their legacy encoding.</summary>
    Sse,

    /// <summary>VEX encodings on vectors.</summary>
    Avx,

    /// <summary>EVEX encodings and opmask instructions.</summary>
    Avx512,

    /// <summary>x87 and MMX.</summary>
    X87,

    /// <summary>Instructions that fault above ring 0.</summary>
    Privileged,
}

/// <summary>Which of Iced's instructions are tested in which group, and why the others are not.</summary>
public static class InstructionCatalog
{
    private static readonly Dictionary<Mnemonic, string> s_excluded = Exclusions();

    private static readonly HashSet<Mnemonic> s_shifts =
        [Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr, Mnemonic.Shl, Mnemonic.Shr, Mnemonic.Sal, Mnemonic.Sar, Mnemonic.Shld,
            Mnemonic.Shrd, Mnemonic.Rorx, Mnemonic.Sarx, Mnemonic.Shlx, Mnemonic.Shrx];

    private static readonly HashSet<Mnemonic> s_bits =
        [Mnemonic.Bt, Mnemonic.Btc, Mnemonic.Btr, Mnemonic.Bts, Mnemonic.Bsf, Mnemonic.Bsr, Mnemonic.Lzcnt, Mnemonic.Tzcnt, Mnemonic.Popcnt,
            Mnemonic.Bswap];

    private static readonly Dictionary<InstructionGroup, Code[]> s_in64 = Find(64), s_in32 = Find(32), s_in16 = Find(16);

    /// <summary>The instructions of each group in 64-bit mode or in a code segment of 32 or 16 bits.</summary>
    public static IReadOnlyDictionary<InstructionGroup, Code[]> Groups(int bitness) => bitness == 64 ? s_in64 : bitness == 32 ? s_in32 : s_in16;

    private static Dictionary<InstructionGroup, Code[]> Find(int bitness) => Enum.GetValues<Code>()
        .Where(c => WhyNot(c, bitness) is null)
        .GroupBy(GroupOf)
        .ToDictionary(g => g.Key, g => g.ToArray());

    /// <summary>Why an instruction is not tested, or null if it is.</summary>
    public static string? WhyNot(Code code, int bitness)
    {
        OpCodeInfo info = code.ToOpCode();
        if (!info.IsInstruction)
        {
            return "not an instruction";
        }

        if (info.Fwait)
        {
            return "two instructions in one name";
        }

        if (!(bitness == 64 ? info.Mode64 : bitness == 32 ? info.Mode32 : info.Mode16))
        {
            return $"not in {bitness}-bit mode";
        }

        if (info.DecoderOption != DecoderOptions.None || info.Encoding is EncodingKind.MVEX or EncodingKind.D3NOW)
        {
            return "only on processors long gone";
        }

        bool here = ProcessorDifferences.IsIntel
            ? bitness == 64 ? info.IntelDecoder64 : bitness == 32 ? info.IntelDecoder32 : info.IntelDecoder16
            : bitness == 64 ? info.AmdDecoder64 : bitness == 32 ? info.AmdDecoder32 : info.AmdDecoder16;
        if (!here || code is Code.Popw_CS)
        {
            return "not as the host's processor decodes";
        }

        if (s_excluded.TryGetValue(info.Mnemonic, out string? reason))
        {
            return reason;
        }

        if (LoadsSegment(info))
        {
            return "reads or loads descriptor tables, which are not those of the host";
        }

        foreach (CpuidFeature feature in code.CpuidFeatures())
        {
            string name = feature.ToString();
            if (name is "VMX" or "SVM" or "SMX" or "SKINIT_or_SVM" or "SKINIT" or "SEV_ES" or "SEV_SNP" or "TDX" or "INVEPT" or "INVVPID" or "SMM"
                or "SGX1" or "SGX2" or "PCONFIG" or "INVLPGB" or "RMPQUERY" or "MCOMMIT" or "PCOMMIT")
            {
                return "belongs to hypervisors and firmware";
            }

            if (name.StartsWith("CYRIX", StringComparison.Ordinal) || name.StartsWith("PADLOCK", StringComparison.Ordinal)
                || name.StartsWith("CENTAUR", StringComparison.Ordinal) || name.StartsWith("AMX", StringComparison.Ordinal)
                || name is "MPX" or "UINTR" or "CET_SS" or "CET_IBT" or "KL" or "AESKLE" or "WIDE_KL" or "FRED" or "LKGS" or "HRESET" or "UDBG"
                    or "MSRLIST" or "WRMSRNS" or "TSE" or "LWP" or "KNC" or "RTM" or "HLE_or_RTM" or "TSXLDTRK" or "WAITPKG" or "ENQCMD" or "PKU"
                    or "PTWRITE" or "CLDEMOTE" or "RAO_INT" or "PREFETCHITI" or "PREFETCHWT1" or "XSAVES" or "OSS" or "CL1INVMB" or "MOVDIR64B" or "AVX512_4FMAPS" or "AVX512_4VNNIW"
                    or "AVX512ER" or "AVX512PF")
            {
                return "not offered to guests";
            }
        }

        return null;
    }

    private static Dictionary<Mnemonic, string> Exclusions()
    {
        Dictionary<Mnemonic, string> result = [];
        Add("answers differently each time or on each processor", Mnemonic.Rdtsc, Mnemonic.Rdtscp, Mnemonic.Rdpid, Mnemonic.Rdpru, Mnemonic.Rdrand,
            Mnemonic.Rdseed, Mnemonic.Cpuid, Mnemonic.Rdpmc);
        Add("calls the operating system", Mnemonic.Syscall, Mnemonic.Sysenter, Mnemonic.Int, Mnemonic.Int1, Mnemonic.Sysret, Mnemonic.Sysexit,
            Mnemonic.Sysretq, Mnemonic.Sysexitq);
        Add("reads or loads descriptor tables, which are not those of the host", Mnemonic.Sgdt, Mnemonic.Sidt, Mnemonic.Sldt, Mnemonic.Str,
            Mnemonic.Smsw, Mnemonic.Lar, Mnemonic.Lsl, Mnemonic.Verr, Mnemonic.Verw, Mnemonic.Iret, Mnemonic.Iretd, Mnemonic.Iretq, Mnemonic.Retf,
            Mnemonic.Lss, Mnemonic.Lfs, Mnemonic.Lgs, Mnemonic.Lds, Mnemonic.Les);
        Add("FS and GS bases have tests of their own", Mnemonic.Rdfsbase, Mnemonic.Rdgsbase, Mnemonic.Wrfsbase, Mnemonic.Wrgsbase);
        Add("depends on what the processor tracks as in use", Mnemonic.Xsave, Mnemonic.Xsave64, Mnemonic.Xsaveopt, Mnemonic.Xsaveopt64,
            Mnemonic.Xsavec, Mnemonic.Xsavec64, Mnemonic.Xrstor, Mnemonic.Xrstor64, Mnemonic.Xgetbv);
        Add("waits", Mnemonic.Monitor, Mnemonic.Mwait, Mnemonic.Monitorx, Mnemonic.Mwaitx);
        Add("belongs to hypervisors and firmware", Mnemonic.Rsm, Mnemonic.Getsec, Mnemonic.Vmcall, Mnemonic.Vmmcall, Mnemonic.Encls,
            Mnemonic.Enclu, Mnemonic.Enclv, Mnemonic.Xend, Mnemonic.Xbegin, Mnemonic.Xabort, Mnemonic.Xtest);
        Add("no architected behaviour", Mnemonic.Ud0, Mnemonic.Ud1, Mnemonic.Reservednop, Mnemonic.Loadall, Mnemonic.Umov, Mnemonic.Zero_bytes);
        return result;

        void Add(string reason, params ReadOnlySpan<Mnemonic> mnemonics)
        {
            foreach (Mnemonic mnemonic in mnemonics)
            {
                result[mnemonic] = reason;
            }
        }
    }

    private static InstructionGroup GroupOf(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        Mnemonic mnemonic = info.Mnemonic;
        if (info.IsPrivileged || info.IsInputOutput || info.MustBeCpl0)
        {
            return InstructionGroup.Privileged;
        }

        if (s_shifts.Contains(mnemonic))
        {
            return InstructionGroup.Shifts;
        }

        CpuidFeature[] features = code.CpuidFeatures();
        if (s_bits.Contains(mnemonic) || features.Any(f => f is CpuidFeature.BMI1 or CpuidFeature.BMI2 or CpuidFeature.TBM))
        {
            return InstructionGroup.Bits;
        }

        if (info.Encoding == EncodingKind.EVEX || features.Any(f => f.ToString().StartsWith("AVX512", StringComparison.Ordinal)))
        {
            return InstructionGroup.Avx512;
        }

        if (info.Encoding != EncodingKind.Legacy)
        {
            return InstructionGroup.Avx;
        }

        if (features.Any(f => f is CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 or CpuidFeature.MMX or CpuidFeature.FXSR)
            || UsesMmx(info))
        {
            return InstructionGroup.X87;
        }

        if (features.Any(f => f.ToString().StartsWith("SSE", StringComparison.Ordinal)
            || f is CpuidFeature.SSSE3 or CpuidFeature.AES or CpuidFeature.PCLMULQDQ or CpuidFeature.SHA or CpuidFeature.GFNI))
        {
            return InstructionGroup.Sse;
        }

        Instruction instruction = new() { Code = code };
        if (instruction.IsStringInstruction)
        {
            return InstructionGroup.String;
        }

        if (code.FlowControl() != FlowControl.Next)
        {
            return InstructionGroup.Branches;
        }

        return info.IsStackInstruction || instruction.IsStackInstruction ? InstructionGroup.Stack : InstructionGroup.Integer;
    }

    private static bool LoadsSegment(OpCodeInfo info) => info.Mnemonic switch
    {
        Mnemonic.Mov => info.Op0Kind == OpCodeOperandKind.seg_reg,
        Mnemonic.Pop => info.Op0Kind is OpCodeOperandKind.es or OpCodeOperandKind.ss or OpCodeOperandKind.ds or OpCodeOperandKind.fs or OpCodeOperandKind.gs,
        Mnemonic.Call or Mnemonic.Jmp => info.Op0Kind is OpCodeOperandKind.mem or OpCodeOperandKind.farbr2_2 or OpCodeOperandKind.farbr4_2,
        _ => false,
    };

    private static bool UsesMmx(OpCodeInfo info)
    {
        for (int i = 0; i < info.OpCount; i++)
        {
            if (info.GetOpKind(i) is OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm or OpCodeOperandKind.mm_or_mem)
            {
                return true;
            }
        }

        return false;
    }
}
