using Yadokari.Linux;
using Yadokari.Translation.Code;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Determines which instruction of a guest's program caused a signal of its process (Linux: arch/x86/kernel/traps.c). The host stops after some
/// instructions and at others. Reads guest memory without changing the vCPU's state. On the vCPU's thread.
/// </summary>
internal sealed class HostTraps(Vcpu cpu)
{
    /// <summary>si_code SI_KERNEL: a signal for INT3, for INT 4, and for #GP, which has no address.</summary>
    public const int KernelSignal = 0x80;

    /// <summary>si_code TRAP_TRACE of SIGTRAP: a single step.</summary>
    public const int StepTrap = 2;

    // si_code TRAP_BRKPT of SIGTRAP: INT1.
    private const int BreakpointTrap = 1;

    private const byte Int1 = 0xF1;

    // Set once the host was seen to stop at an INT1 instead of after it.
    private static bool s_hostStopsAtInt1;

    /// <summary>
    /// Whether INT 4 caused a SIGSEGV. It is a trap: it differs from #GP only in that RF is clear (SDM 3B 18.3.1.1) and RIP is after the
    /// instruction.
    /// </summary>
    public bool IsOverflow(Sandbox sandbox, in TracedRegisters registers)
    {
        sandbox.ReadSignal(out int code, out _);
        if (code != KernelSignal || (registers.Rflags & DirectRegisters.FlagResume) != 0 || sandbox.Owns(registers.Rip))
        {
            return false;
        }

        return Peek(registers.Rip - 2, out ushort last) && last == 0x04CD;
    }

    /// <summary>Length of the breakpoint instruction before RIP after a SIGTRAP; 0 if RIP is at the instruction that trapped.</summary>
    /// <param name="trap">The signal's si_code.</param>
    /// <param name="rip">RIP at the stop.</param>
    public ulong BreakpointLength(int trap, ulong rip) => trap switch
    {
        KernelSignal => BreakpointLength(rip),
        BreakpointTrap => IsAtInt1(rip) ? 0 : BreakpointLength(rip),
        _ => 0,
    };

    /// <summary>Whether a breakpoint instruction caused a SIGTRAP.</summary>
    /// <param name="trap">The signal's si_code.</param>
    public static bool IsBreakpoint(int trap) => trap is KernelSignal or BreakpointTrap;

    // INT3 and INT1 are one byte, INT 3 is two.
    private ulong BreakpointLength(ulong after)
    {
        bool one = !Peek(after - 1, out byte last) || last is 0xCC or Int1;
        return one ? 1u : 2u;
    }

    // Whether the host stopped at an INT1, not after it as processors do: a hypervisor that intercepts #DB may inject it so. If there is an INT1
    // on both sides of RIP, the host's earlier behaviour decides.
    private bool IsAtInt1(ulong rip)
    {
        const int Longest = 15;
        int length = 0;
        byte value;
        while (Peek(rip + (ulong)length, out value) && length < Longest - 1 && InstructionForms.IsPrefix(value, 64))
        {
            length++;
        }

        bool behind = Peek(rip - 1, out byte last) && last == Int1;
        s_hostStopsAtInt1 |= value == Int1 && !behind;
        return value == Int1 && s_hostStopsAtInt1;
    }

    private bool Peek<T>(ulong linear, out T value)
        where T : unmanaged
    {
        ulong cr2 = cpu.Cr2;
        bool read = cpu.Memory.Read(linear, out value);
        cpu.ClearRaised();
        cpu.Cr2 = cr2;
        return read;
    }
}
