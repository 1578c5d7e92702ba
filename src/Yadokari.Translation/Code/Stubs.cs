namespace Yadokari.Translation.Code;

/// <summary>
/// The entry and exit stubs between C# and translated code, emitted once into each code cache. Register allocation: guest RSP is in r10, RBP
/// in r11; RAX RCX RDX RBX RSI RDI R8 R9 R12 R13 R14 are in the host registers of the same name; guest R10 R11 R15 are in their slots of
/// <see cref="VcpuState"/>; host rbp and r15 are scratch; host rsp is the host's stack pointer.
/// <para>
/// Below the stack frame of C# is the return stack: a guest address and a host address for each guest call that has not returned. The host's
/// CALL pushes the host address, so that the processor predicts the RET. Each exit drops the return stack, because only C# invalidates its
/// entries. Code that changes the mode without an exit must drop it too.
/// </para>
/// </summary>
internal sealed unsafe class Stubs
{
    private static readonly (int Guest, Host Host)[] s_resident =
    [
        (1, Host.Rcx), (2, Host.Rdx), (3, Host.Rbx), (4, Host.R10), (5, Host.R11), (6, Host.Rsi), (7, Host.Rdi),
        (8, Host.R8), (9, Host.R9), (12, Host.R12), (13, Host.R13), (14, Host.R14),
    ];

    /// <summary>Bytes of the return stack, 16 for each call, and its alignment.</summary>
    public const int ReturnStackBytes = 1 << 14;

    /// <summary>Bytes of the entry at its bottom, which is never popped.</summary>
    private const int BottomBytes = 16;

    private static readonly Host[] s_calleeSaved = [Host.Rbx, Host.Rbp, Host.R12, Host.R13, Host.R14, Host.R15];

    private static readonly int s_saveRax = StateLayout.Of(nameof(VcpuState.SaveRax));
    private static readonly int s_saveRcx = StateLayout.Of(nameof(VcpuState.SaveRcx));
    private static readonly int s_flags = StateLayout.Of(nameof(VcpuState.FlagsAx));
    private static readonly int s_hostRsp = StateLayout.Of(nameof(VcpuState.HostRsp));
    private static readonly int s_live = StateLayout.Of(nameof(VcpuState.SimdLive));
    private static readonly int s_mask = StateLayout.Of(nameof(VcpuState.XsaveMask));
    private static readonly int s_site = StateLayout.Of(nameof(VcpuState.ExitSite));

    public Stubs(CodeCache cache)
    {
        HostAssembler a = default;
        a.Cursor = cache.Next;
        EmitExits(ref a, out byte* fault, out byte* exitAx, out byte* exitPlain);
        Fault = cache.Executable(fault);
        ExitAx = exitAx;
        ExitPlain = exitPlain;
        Invalidated = EmitInvalidated(ref a, exitAx);
        EmitEntries(ref a, cache.Executable(Invalidated), out byte* enterSimd, out byte* enter);
        EnterSimd = (delegate* unmanaged<byte*, void>)cache.Executable(enterSimd);
        Enter = (delegate* unmanaged<byte*, void>)cache.Executable(enter);
        RestoreSimd = EmitRestoreSimdForBlock(ref a);
        cache.Commit(a.Cursor);
        cache.KeepSoFar();
    }

    /// <summary>Enters code without loading the guest's SIMD state.</summary>
    public delegate* unmanaged<byte*, void> Enter { get; }

    /// <summary>Loads the guest's SIMD state and enters code: for the middle of a block that uses SIMD.</summary>
    public delegate* unmanaged<byte*, void> EnterSimd { get; }

    /// <summary>
    /// Target of jumps to invalidated blocks and of a return from the bottom of the return stack. The guest's flags are in AX, RAX is saved,
    /// and r15 is the guest address (writable view).
    /// </summary>
    public byte* Invalidated { get; }

    /// <summary>Executable address at which execution resumes after a host signal.</summary>
    public byte* Fault { get; }

    /// <summary>Exit with the guest's flags in the host's flags (writable view).</summary>
    public byte* ExitPlain { get; }

    /// <summary>Exit with the guest's flags in AX and its RAX saved (writable view).</summary>
    public byte* ExitAx { get; }

    /// <summary>Loads the guest's SIMD state (writable view).</summary>
    public byte* RestoreSimd { get; }

    // Emits the three exits, which store the guest's registers and return to C#.
    private static void EmitExits(ref HostAssembler a, out byte* fault, out byte* exitAx, out byte* exitPlain)
    {
        // Execution resumes here after a host signal: no site, registers as at the fault.
        fault = a.Cursor;
        a.StoreImmediate(Mem.State(s_site), 0);
        byte* toPlain = a.Jump(a.Cursor);

        // A block calls an exit; the return address is the address of the Site.
        exitAx = a.Cursor;
        a.Pop(Mem.State(s_site));
        a.Store16(Mem.State(s_flags), Host.Rax);
        a.Load(Host.Rax, Mem.State(s_saveRax));
        a.Store(Mem.State(StateLayout.Gpr(0)), Host.Rax);
        byte* toCommon = a.Jump(a.Cursor);

        exitPlain = a.Cursor;
        a.Pop(Mem.State(s_site));
        HostAssembler.Patch(toPlain, a.Cursor);
        a.Store(Mem.State(StateLayout.Gpr(0)), Host.Rax);
        a.SaveFlagsInAx();
        a.Store16(Mem.State(s_flags), Host.Rax);

        HostAssembler.Patch(toCommon, a.Cursor);
        a.Store(Mem.State(StateLayout.Of(nameof(VcpuState.ExitValue))), Host.Rbp);
        foreach ((int guest, Host host) in s_resident)
        {
            a.Store(Mem.State(StateLayout.Gpr(guest)), host);
        }

        EmitSaveSimd(ref a);
        a.Load(Host.Rsp, Mem.State(s_hostRsp));
        a.Load(Host.Rsp, Mem.At(Host.Rsp, BottomBytes));
        for (int i = s_calleeSaved.Length - 1; i >= 0; i--)
        {
            a.Pop(s_calleeSaved[i]);
        }

        a.Return();
    }

    // Saves the guest's SIMD state if it is loaded.
    private static void EmitSaveSimd(ref HostAssembler a)
    {
        a.Arithmetic32(Alu.Cmp, Mem.State(s_live), 0);
        byte* noSimd = a.Jump(Condition.Equal, a.Cursor);
        a.Load32(Host.Rax, Mem.State(s_mask));
        a.Load32(Host.Rdx, Mem.State(s_mask + 4));
        a.Xsave(Mem.State(StateLayout.Xsave));
        a.Ldmxcsr(Mem.State(StateLayout.Of(nameof(VcpuState.HostMxcsr))));

        // Host code requires an x87 without pending exceptions and with empty registers (psABI 3.2.1): FNINIT, unless it is initial already.
        a.Test32(Mem.State(StateLayout.Xsave + 512), 1);
        byte* initial = a.Jump(Condition.Equal, a.Cursor);
        a.Bytes([0xDB, 0xE3]);
        HostAssembler.Patch(initial, a.Cursor);
        a.StoreImmediate32(Mem.State(s_live), 0);
        HostAssembler.Patch(noSimd, a.Cursor);
    }

    private static byte* EmitInvalidated(ref HostAssembler a, byte* exitAx)
    {
        byte* entry = a.Cursor;
        a.Move(Host.Rbp, Host.R15);
        a.Call(exitAx);
        *(Site*)a.Cursor = new Site { Kind = SiteKind.Invalidated };
        a.Cursor += sizeof(Site);
        return entry;
    }

    // void enter(code): the C calling convention, code in rdi.
    private static void EmitEntries(ref HostAssembler a, byte* bottom, out byte* enterSimd, out byte* enter)
    {
        enterSimd = a.Cursor;
        a.Arithmetic32(Alu.Cmp, Mem.State(s_live), 0);
        byte* already = a.Jump(Condition.NotEqual, a.Cursor);
        EmitRestoreSimd(ref a);
        HostAssembler.Patch(already, a.Cursor);
        enter = a.Cursor;
        foreach (Host register in s_calleeSaved)
        {
            a.Push(register);
        }

        a.Move(Host.Rbp, Host.Rsp);
        a.Arithmetic(Alu.And, Host.Rsp, -ReturnStackBytes);
        a.Push(Host.Rbp);
        a.Push(0);
        a.MoveImmediate(Host.Rax, (ulong)bottom);
        a.Push(Host.Rax);
        a.Store(Mem.State(s_hostRsp), Host.Rsp);
        a.Move(Host.R15, Host.Rdi);
        foreach ((int guest, Host host) in s_resident)
        {
            a.Load(host, Mem.State(StateLayout.Gpr(guest)));
        }

        a.Load(Host.Rax, Mem.State(s_flags));
        a.RestoreFlagsFromAx();
        a.Load(Host.Rax, Mem.State(StateLayout.Gpr(0)));
        a.Jump(Host.R15);
    }

    // Called at the start of a block that uses SIMD if the guest's SIMD state is not loaded. Preserves all registers, but not the flags.
    private static byte* EmitRestoreSimdForBlock(ref HostAssembler a)
    {
        byte* restore = a.Cursor;
        a.Store(Mem.State(s_saveRcx), Host.Rax);
        a.Move(Host.Rbp, Host.Rdx);
        EmitRestoreSimd(ref a);
        a.Move(Host.Rdx, Host.Rbp);
        a.Load(Host.Rax, Mem.State(s_saveRcx));
        a.Return();
        return restore;
    }

    private static void EmitRestoreSimd(ref HostAssembler a)
    {
        a.Load32(Host.Rax, Mem.State(s_mask));
        a.Load32(Host.Rdx, Mem.State(s_mask + 4));
        a.Xrstor(Mem.State(StateLayout.Xsave));
        a.StoreImmediate32(Mem.State(s_live), 1);
    }
}
