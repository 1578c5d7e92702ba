using Iced.Intel;

namespace Yadokari.X86.Sensitive;

/// <summary>The entries. To make an instruction sensitive, add a line to the list of its group.</summary>
internal static class SensitiveTable
{
    private const string Intel = "Intel SDM vol. 2, ";
    private const string Amd = "AMD APM vol. 3, ";
    private const string Robin = "; Robin & Irvine 2000, section 4";
    private const SensitivityClass Privileged = SensitivityClass.Privileged;
    private const SensitivityClass Unprivileged = SensitivityClass.UnprivilegedSensitive;

    /// <summary>An entry and the forms it covers; null for all forms of the mnemonic.</summary>
    internal readonly record struct Entry(SensitiveInstruction Instruction, Predicate<Code>? Covers);

    /// <summary>All entries.</summary>
    internal static Entry[] Entries { get; } =
    [
        .. Group(Privileged, "changes or shows control, debug or test registers", Intel, Mnemonic.Clts, Mnemonic.Lmsw),
        One(Mnemonic.Mov, Privileged, "changes or shows control, debug or test registers", Intel + "MOV CR, MOV DR", IsControlMove, "control and debug registers"),
        .. Group(Privileged, "changes a descriptor table or the task", Intel, Mnemonic.Lgdt, Mnemonic.Lidt, Mnemonic.Lldt, Mnemonic.Ltr),
        .. Group(Privileged, "changes the interrupt flag, which the monitor keeps", Intel, Mnemonic.Cli, Mnemonic.Sti),
        .. Group(Privileged, "changes RFLAGS.AC, which SMAP obeys", Intel, Mnemonic.Clac, Mnemonic.Stac),
        .. Group(Privileged, "reaches a device", Intel, Mnemonic.In, Mnemonic.Insb, Mnemonic.Insw, Mnemonic.Insd, Mnemonic.Out, Mnemonic.Outsb, Mnemonic.Outsw, Mnemonic.Outsd),
        .. Group(Privileged, "waits for an interrupt or a store", Intel, Mnemonic.Hlt, Mnemonic.Monitor, Mnemonic.Mwait),
        .. Group(Privileged, "reads or writes model-specific registers", Intel, Mnemonic.Rdmsr, Mnemonic.Wrmsr, Mnemonic.Wrmsrns, Mnemonic.Rdmsrlist, Mnemonic.Wrmsrlist),
        .. Group(Privileged, "changes extended state that the monitor shares", Intel, Mnemonic.Xsetbv, Mnemonic.Xsaves, Mnemonic.Xsaves64, Mnemonic.Xrstors, Mnemonic.Xrstors64),
        .. Group(Privileged, "drops cached translations", Intel, Mnemonic.Invlpg, Mnemonic.Invpcid, Mnemonic.Invept, Mnemonic.Invvpid),
        .. Group(Privileged, "drops cached translations", Amd, Mnemonic.Invlpga, Mnemonic.Invlpgb, Mnemonic.Tlbsync),
        .. Group(Privileged, "drops caches of the whole processor", Intel, Mnemonic.Invd, Mnemonic.Wbinvd, Mnemonic.Wbnoinvd),
        .. Group(Privileged, "exchanges GS bases", Intel, Mnemonic.Swapgs, Mnemonic.Lkgs),
        .. Group(Privileged, "returns to user mode", Intel, Mnemonic.Sysretq, Mnemonic.Sysret, Mnemonic.Sysexit, Mnemonic.Sysexitq, Mnemonic.Erets, Mnemonic.Eretu),
        .. Group(Privileged, "leaves system management mode", Intel, Mnemonic.Rsm),
        .. Group(Privileged, "runs or holds other virtual machines", Intel,
            Mnemonic.Vmcall, Mnemonic.Vmclear, Mnemonic.Vmlaunch, Mnemonic.Vmptrld, Mnemonic.Vmptrst, Mnemonic.Vmread, Mnemonic.Vmresume,
            Mnemonic.Vmwrite, Mnemonic.Vmxoff, Mnemonic.Vmxon),
        .. Group(Privileged, "runs or holds other virtual machines", Amd,
            Mnemonic.Vmrun, Mnemonic.Vmload, Mnemonic.Vmsave, Mnemonic.Clgi, Mnemonic.Stgi, Mnemonic.Skinit, Mnemonic.Psmash,
            Mnemonic.Pvalidate, Mnemonic.Rmpadjust, Mnemonic.Rmpquery, Mnemonic.Rmpupdate),
        .. Group(Privileged, "belongs to a feature that guests are not offered", Intel,
            Mnemonic.Encls, Mnemonic.Enclv, Mnemonic.Enqcmds, Mnemonic.Hreset, Mnemonic.Loadiwkey, Mnemonic.Pconfig, Mnemonic.Pbndkb,
            Mnemonic.Setssbsy, Mnemonic.Clrssbsy, Mnemonic.Wrussd, Mnemonic.Wrussq, Mnemonic.Seamcall, Mnemonic.Seamops, Mnemonic.Seamret,
            Mnemonic.Tdcall, Mnemonic.Getsec, Mnemonic.Getsecq),
        .. Group(Privileged, "belongs to another maker's processors", "not in either manual: ",
            Mnemonic.Loadall, Mnemonic.Storeall, Mnemonic.Bb0_reset, Mnemonic.Bb1_reset, Mnemonic.Cl1invmb, Mnemonic.Cpu_read, Mnemonic.Cpu_write,
            Mnemonic.Dmint, Mnemonic.Rdm, Mnemonic.Rdshr, Mnemonic.Wrshr, Mnemonic.Rsdc, Mnemonic.Rsldt, Mnemonic.Rsts, Mnemonic.Smint,
            Mnemonic.Svdc, Mnemonic.Svldt, Mnemonic.Svts, Mnemonic.Rdudbg, Mnemonic.Wrudbg),

        .. Group(Unprivileged, "shows the monitor's descriptor tables, task or CR0", Intel, Robin, Mnemonic.Sgdt, Mnemonic.Sidt, Mnemonic.Sldt, Mnemonic.Smsw, Mnemonic.Str),
        .. Group(Unprivileged, "shows or changes flags that the monitor keeps (IF, IOPL), in silence", Intel, Robin,
            Mnemonic.Pushf, Mnemonic.Pushfd, Mnemonic.Pushfq, Mnemonic.Popf, Mnemonic.Popfd, Mnemonic.Popfq),
        .. Group(Unprivileged, "reads the monitor's descriptor tables", Intel, Robin, Mnemonic.Lar, Mnemonic.Lsl, Mnemonic.Verr, Mnemonic.Verw),
        One(Mnemonic.Mov, Unprivileged, "reads or loads a segment register", Intel + "MOV" + Robin, IsSegmentMove, "segment registers"),
        One(Mnemonic.Push, Unprivileged, "reads a segment register", Intel + "PUSH" + Robin, IsSegmentPush, "segment registers"),
        One(Mnemonic.Pop, Unprivileged, "loads a segment register", Intel + "POP" + Robin, IsSegmentPop, "segment registers"),
        .. Group(Unprivileged, "loads a segment register", Intel, Mnemonic.Lds, Mnemonic.Les, Mnemonic.Lfs, Mnemonic.Lgs, Mnemonic.Lss),
        One(Mnemonic.Call, Unprivileged, "goes through a descriptor, and may change the privilege level or the task", Intel + "CALL" + Robin, IsFar, "far"),
        One(Mnemonic.Jmp, Unprivileged, "goes through a descriptor, and may change the task", Intel + "JMP" + Robin, IsFar, "far"),
        .. Group(Unprivileged, "loads CS and may change the privilege level", Intel, Robin, Mnemonic.Retf, Mnemonic.Iret, Mnemonic.Iretd, Mnemonic.Iretq),
        .. Group(Unprivileged, "goes through the interrupt table", Intel, Robin, Mnemonic.Int, Mnemonic.Int1, Mnemonic.Int3, Mnemonic.Into),
        .. Group(Unprivileged, "raises #UD, which is the guest's to take", Intel, Mnemonic.Ud0, Mnemonic.Ud1, Mnemonic.Ud2),
        One(Mnemonic.INVALID, Unprivileged, "raises #UD, which is the guest's to take", "Intel SDM vol. 3, 7.15", null, "what can't be decoded"),
        .. Group(Unprivileged, "is data of an assembler, no instruction", "no manual: ", Mnemonic.Db, Mnemonic.Dw, Mnemonic.Dd, Mnemonic.Dq, Mnemonic.Zero_bytes),
        .. Group(Unprivileged, "enters the kernel", Intel, Mnemonic.Syscall, Mnemonic.Sysenter),
        .. Group(Unprivileged, "shows the real processor", Intel, Mnemonic.Cpuid),
        .. Group(Unprivileged, "shows the real clock or the real processor's number", Intel, Mnemonic.Rdtsc, Mnemonic.Rdtscp, Mnemonic.Rdpid),
        .. Group(Unprivileged, "shows performance counters of the real processor", Intel, Mnemonic.Rdpmc),
        .. Group(Unprivileged, "shows performance counters of the real processor", Amd, Mnemonic.Rdpru),
        .. Group(Unprivileged, "reads or writes FS and GS bases, which the monitor uses", Intel, Mnemonic.Rdfsbase, Mnemonic.Rdgsbase, Mnemonic.Wrfsbase, Mnemonic.Wrgsbase),
        .. Group(Unprivileged, "shows the monitor's XCR0", Intel, Mnemonic.Xgetbv),
        .. Group(Unprivileged, "obeys the monitor's XCR0, and shows where its code lies by the last x87 instruction's address", Intel,
            Mnemonic.Xsave, Mnemonic.Xsave64, Mnemonic.Xsavec, Mnemonic.Xsavec64, Mnemonic.Xsaveopt, Mnemonic.Xsaveopt64,
            Mnemonic.Xrstor, Mnemonic.Xrstor64),
        .. Group(Unprivileged, "obeys the monitor's CR4.OSFXSR, and shows where its code lies by the last x87 instruction's address", Intel,
            Mnemonic.Fxsave, Mnemonic.Fxsave64, Mnemonic.Fxrstor, Mnemonic.Fxrstor64),
        .. Group(Unprivileged, "shows where the monitor's code lies by the last x87 instruction's address", Intel, Mnemonic.Fnstenv, Mnemonic.Fnsave, Mnemonic.Fstenv, Mnemonic.Fsave),
        .. Group(Unprivileged, "shows or changes the monitor's protection keys", Intel, Mnemonic.Rdpkru, Mnemonic.Wrpkru),
        .. Group(Unprivileged, "calls the hypervisor", Amd, Mnemonic.Vmmcall, Mnemonic.Vmgexit),
        .. Group(Unprivileged, "calls the hypervisor", Intel, Mnemonic.Vmfunc),
        .. Group(Unprivileged, "uses the monitor's shadow stack", Intel,
            Mnemonic.Rdsspd, Mnemonic.Rdsspq, Mnemonic.Incsspd, Mnemonic.Incsspq, Mnemonic.Saveprevssp, Mnemonic.Rstorssp, Mnemonic.Wrssd, Mnemonic.Wrssq),
        .. Group(Unprivileged, "waits on the real processor, by rights that the real system gives", Intel, Mnemonic.Umonitor, Mnemonic.Umwait, Mnemonic.Tpause),
        .. Group(Unprivileged, "waits on the real processor", Amd, Mnemonic.Monitorx, Mnemonic.Mwaitx),
        .. Group(Unprivileged, "begins or ends a transaction, in which the monitor can't work", Intel,
            Mnemonic.Xbegin, Mnemonic.Xend, Mnemonic.Xabort, Mnemonic.Xtest, Mnemonic.Xsusldtrk, Mnemonic.Xresldtrk),
        .. Group(Unprivileged, "obeys the monitor's bounds registers", Intel,
            Mnemonic.Bndcl, Mnemonic.Bndcn, Mnemonic.Bndcu, Mnemonic.Bndldx, Mnemonic.Bndmk, Mnemonic.Bndmov, Mnemonic.Bndstx),
        .. Group(Unprivileged, "belongs to a feature that guests are not offered", Intel,
            Mnemonic.Enclu, Mnemonic.Enqcmd, Mnemonic.Movdir64b, Mnemonic.Pcommit, Mnemonic.Ptwrite, Mnemonic.Senduipi, Mnemonic.Uiret, Mnemonic.Clui, Mnemonic.Stui, Mnemonic.Testui,
            Mnemonic.Aesdec128kl, Mnemonic.Aesdec256kl, Mnemonic.Aesdecwide128kl, Mnemonic.Aesdecwide256kl, Mnemonic.Aesenc128kl,
            Mnemonic.Aesenc256kl, Mnemonic.Aesencwide128kl, Mnemonic.Aesencwide256kl, Mnemonic.Encodekey128, Mnemonic.Encodekey256,
            Mnemonic.Ldtilecfg, Mnemonic.Sttilecfg, Mnemonic.Tileloadd, Mnemonic.Tileloaddt1, Mnemonic.Tilerelease, Mnemonic.Tilestored,
            Mnemonic.Tilezero, Mnemonic.Tdpbf16ps, Mnemonic.Tdpbssd, Mnemonic.Tdpbsud, Mnemonic.Tdpbusd, Mnemonic.Tdpbuud, Mnemonic.Tdpfp16ps,
            Mnemonic.Tcmmimfp16ps, Mnemonic.Tcmmrlfp16ps),
        .. Group(Unprivileged, "belongs to a feature that guests are not offered", Amd,
            Mnemonic.Mcommit, Mnemonic.Llwpcb, Mnemonic.Slwpcb, Mnemonic.Lwpins, Mnemonic.Lwpval,
            Mnemonic.Blcfill, Mnemonic.Blci, Mnemonic.Blcic, Mnemonic.Blcmsk, Mnemonic.Blcs, Mnemonic.Blsfill, Mnemonic.Blsic, Mnemonic.T1mskc, Mnemonic.Tzmsk),
        .. Group(Unprivileged, "belongs to another maker's processors", "not in either manual: ",
            Mnemonic.Altinst, Mnemonic.Ccs_encrypt, Mnemonic.Ccs_hash, Mnemonic.Ibts, Mnemonic.Xbts, Mnemonic.Jmpe, Mnemonic.Montmul, Mnemonic.Umov, Mnemonic.Undoc,
            Mnemonic.Xcryptcbc, Mnemonic.Xcryptcfb, Mnemonic.Xcryptctr, Mnemonic.Xcryptecb, Mnemonic.Xcryptofb, Mnemonic.Xsha1, Mnemonic.Xsha256,
            Mnemonic.Xsha512, Mnemonic.Xsha512_alt, Mnemonic.Xstore, Mnemonic.Xstore_alt),
    ];

    private static Entry One(
        Mnemonic mnemonic, SensitivityClass sensitivity, string reason, string source, Predicate<Code>? covers, string forms) =>
        new(new SensitiveInstruction(mnemonic, sensitivity, reason, source, forms), covers);

    private static IEnumerable<Entry> Group(SensitivityClass sensitivity, string reason, string source, params Mnemonic[] mnemonics) =>
        Group(sensitivity, reason, source, "", mnemonics);

    private static IEnumerable<Entry> Group(
        SensitivityClass sensitivity, string reason, string source, string also, params Mnemonic[] mnemonics) =>
        mnemonics.Select(m => One(m, sensitivity, reason, source + m.ToString().ToUpperInvariant() + also, null, ""));

    private static bool IsControlMove(Code code) => code
        is Code.Mov_r32_cr or Code.Mov_r64_cr or Code.Mov_r32_dr or Code.Mov_r64_dr or Code.Mov_cr_r32 or Code.Mov_cr_r64
        or Code.Mov_dr_r32 or Code.Mov_dr_r64 or Code.Mov_r32_tr or Code.Mov_tr_r32;

    private static bool IsSegmentMove(Code code) => code
        is Code.Mov_rm16_Sreg or Code.Mov_r32m16_Sreg or Code.Mov_r64m16_Sreg
        or Code.Mov_Sreg_rm16 or Code.Mov_Sreg_r32m16 or Code.Mov_Sreg_r64m16;

    private static bool IsSegmentPush(Code code) => code
        is Code.Pushw_ES or Code.Pushd_ES or Code.Pushw_CS or Code.Pushd_CS or Code.Pushw_SS or Code.Pushd_SS or Code.Pushw_DS
        or Code.Pushd_DS or Code.Pushw_FS or Code.Pushd_FS or Code.Pushq_FS or Code.Pushw_GS or Code.Pushd_GS or Code.Pushq_GS;

    private static bool IsSegmentPop(Code code) => code
        is Code.Popw_ES or Code.Popd_ES or Code.Popw_CS or Code.Popw_SS or Code.Popd_SS or Code.Popw_DS
        or Code.Popd_DS or Code.Popw_FS or Code.Popd_FS or Code.Popq_FS or Code.Popw_GS or Code.Popd_GS or Code.Popq_GS;

    private static bool IsFar(Code code) => code
        is Code.Call_ptr1616 or Code.Call_ptr1632 or Code.Call_m1616 or Code.Call_m1632 or Code.Call_m1664
        or Code.Jmp_ptr1616 or Code.Jmp_ptr1632 or Code.Jmp_m1616 or Code.Jmp_m1632 or Code.Jmp_m1664;
}
