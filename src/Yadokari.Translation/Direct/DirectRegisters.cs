using Yadokari.Linux;
using Yadokari.Translation.Emulation;
using Yadokari.X86.State;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Transfers the guest's registers between the vCPU and the process that runs its user code. General registers, flags and segments are copied
/// at each entry and stop. x87 and vector registers stay in the process until the vCPU needs them, because most stops do not:
/// <see cref="VcpuState.ExtendedAway"/> is set while a process holds them. On the vCPU's thread.
/// </summary>
internal sealed unsafe class DirectRegisters(Vcpu cpu)
{
    /// <summary>Message for a process that ended unexpectedly.</summary>
    public const string ProcessEnded = "the host ended the process in which a guest's program ran; the machine's state is lost";

    /// <summary>RFLAGS.RF.</summary>
    public const ulong FlagResume = 1ul << 16;

    // Selectors of Linux's user segments (arch/x86/include/asm/segment.h), which the process has. A program can read its selectors, so only
    // programs with the same ones run directly.
    private const ushort CodeSelector = 0x33;
    private const ushort DataSelector = 0x2B;

    private const ulong FlagTrap = 1ul << 8;

    // TF, NT, RF, VM, VIF, VIP: the process can't have them set, or they would have another effect there.
    private const ulong ForeignFlags = FlagTrap | (1ul << 14) | FlagResume | (1ul << 17) | (1ul << 19) | (1ul << 20);

    // Flags that user code can change: CF PF AF ZF SF TF DF OF NT AC ID.
    private const ulong UserFlags = Vcpu.ArithmeticFlags | FlagTrap | (1ul << 10) | (1ul << 14) | (1ul << 18) | (1ul << 21);

    // The sandbox whose process holds the x87 and vector registers; null if the vCPU does.
    private Sandbox? _holder;

    /// <summary>Whether a process can run with the vCPU's current segments and flags.</summary>
    public bool CanCross
    {
        get
        {
            ref readonly SegmentState stack = ref cpu.Segments[2];
            return cpu.Segments[1].Selector == CodeSelector && stack.Selector == DataSelector
                && IsPlain(0) && IsPlain(3) && cpu.Segments[4].Selector == 0 && cpu.Segments[5].Selector == 0
                && (cpu.State->SystemFlags & ForeignFlags) == 0;
        }
    }

    /// <summary>Builds the process's registers from the vCPU's.</summary>
    public void Compose(out TracedRegisters r)
    {
        r = default;
        (r.Rax, r.Rcx, r.Rdx, r.Rbx) = (cpu.Rax, cpu.Rcx, cpu.Rdx, cpu.Rbx);
        (r.Rsp, r.Rbp, r.Rsi, r.Rdi) = (cpu.Rsp, cpu.Rbp, cpu.Rsi, cpu.Rdi);
        (r.R8, r.R9, r.R10, r.R11) = (cpu.Gpr(8), cpu.Gpr(9), cpu.Gpr(10), cpu.Gpr(11));
        (r.R12, r.R13, r.R14, r.R15) = (cpu.Gpr(12), cpu.Gpr(13), cpu.Gpr(14), cpu.Gpr(15));
        r.OrigRax = ulong.MaxValue;
        r.Rip = cpu.Rip;
        r.Rflags = (cpu.Rflags & UserFlags) | 0x202;
        (r.Cs, r.Ss, r.Ds, r.Es) = (CodeSelector, DataSelector, cpu.Segments[3].Selector, cpu.Segments[0].Selector);
        (r.FsBase, r.GsBase) = (cpu.State->SegmentBase[4], cpu.State->SegmentBase[5]);
    }

    /// <summary>
    /// Sets the vCPU's registers from the process's; the process keeps the x87 and vector registers. Returns false after raising an exception, if
    /// the guest's descriptor tables do not permit a selector that the program loaded.
    /// </summary>
    public bool TakeBack(Sandbox sandbox, in TracedRegisters r)
    {
        (cpu.Rax, cpu.Rcx, cpu.Rdx, cpu.Rbx) = (r.Rax, r.Rcx, r.Rdx, r.Rbx);
        (cpu.Rsp, cpu.Rbp, cpu.Rsi, cpu.Rdi) = (r.Rsp, r.Rbp, r.Rsi, r.Rdi);
        (cpu.Gpr(8), cpu.Gpr(9), cpu.Gpr(10), cpu.Gpr(11)) = (r.R8, r.R9, r.R10, r.R11);
        (cpu.Gpr(12), cpu.Gpr(13), cpu.Gpr(14), cpu.Gpr(15)) = (r.R12, r.R13, r.R14, r.R15);
        cpu.Rip = r.Rip;
        cpu.Rflags = (cpu.Rflags & ~UserFlags) | (r.Rflags & UserFlags);
        _holder = sandbox;
        cpu.State->ExtendedAway = 1;
        bool known = true;
        foreach ((int index, ulong selector) in (ReadOnlySpan<(int, ulong)>)[(1, r.Cs), (2, r.Ss), (3, r.Ds), (0, r.Es), (4, r.Fs), (5, r.Gs)])
        {
            known &= cpu.Segments[index].Selector == selector || SegmentInstructions.Reload(cpu, index, (ushort)selector);
        }

        Rebase(4, r.FsBase);
        Rebase(5, r.GsBase);
        return known;
    }

    /// <summary>Copies the x87 and vector registers to the process unless it holds them. False if that fails: the vCPU keeps them.</summary>
    public bool LoadExtended(Sandbox sandbox)
    {
        if (_holder != sandbox)
        {
            var area = new Span<byte>(cpu.XsaveArea, HostXsave.AreaBytes);
            cpu.X87.Store(area);
            if (!sandbox.LoadExtended(area))
            {
                return false;
            }
        }

        _holder = null;
        cpu.State->ExtendedAway = 0;
        return true;
    }

    /// <summary>Copies the x87 and vector registers to the vCPU, if a process holds them.</summary>
    public void FetchExtended()
    {
        if (_holder is { } sandbox)
        {
            _holder = null;
            cpu.State->ExtendedAway = 0;
            var area = new Span<byte>(cpu.XsaveArea, HostXsave.AreaBytes);
            if (!sandbox.SaveExtended(area))
            {
                throw new InvalidOperationException(ProcessEnded);
            }

            cpu.X87.Load(area);
        }
    }

    /// <summary>Copies them to the vCPU if this process holds them: it is to run another program, or to be disposed.</summary>
    public void FetchExtended(Sandbox from)
    {
        if (_holder == from)
        {
            FetchExtended();
        }
    }

    private bool IsPlain(int segment) => cpu.Segments[segment].Selector is 0 or DataSelector;

    private void Rebase(int segment, ulong start)
    {
        if (cpu.Segments[segment].Base != start)
        {
            cpu.SetSegment(segment, cpu.Segments[segment] with { Base = start });
        }
    }
}
