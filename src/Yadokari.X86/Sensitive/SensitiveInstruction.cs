using Iced.Intel;

namespace Yadokari.X86.Sensitive;

/// <summary>The class of an instruction for virtualization, in the terms of Popek and Goldberg (1974).</summary>
public enum SensitivityClass : byte
{
    /// <summary>Neither reads nor changes state of the monitor: may run unchanged on the host's processor.</summary>
    Innocuous,

    /// <summary>
    /// Sensitive, but does not trap in user mode: it would run with a wrong result. Because of these, IA-32 can't be virtualized by trapping
    /// alone (Robin and Irvine 2000).
    /// </summary>
    UnprivilegedSensitive,

    /// <summary>Sensitive, and traps in user mode, as trap-and-emulate requires.</summary>
    Privileged,
}

/// <summary>The behaviour of a sensitive instruction in user code that runs directly on the host's processor, in a separate process.</summary>
public enum DirectUse : byte
{
    /// <summary>It traps: the monitor sees it.</summary>
    Traps,

    /// <summary>It works on the process's own state, which is the guest's.</summary>
    Runs,

    /// <summary>It shows the host's state without a trap: the page that contains it must be translated.</summary>
    ShowsHost,
}

/// <summary>An entry of the table of sensitive instructions.</summary>
/// <param name="Mnemonic">The instruction. An entry may cover only some of its forms: those of MOV with a segment register, say.</param>
/// <param name="Class">Never <see cref="SensitivityClass.Innocuous"/>.</param>
/// <param name="Reason">Why it is sensitive, in one phrase.</param>
/// <param name="Source">The manual and section.</param>
/// <param name="Forms">The forms that the entry covers; an empty string for all.</param>
public sealed record SensitiveInstruction(Mnemonic Mnemonic, SensitivityClass Class, string Reason, string Source, string Forms = "")
{
    /// <summary>
    /// The behaviour in a Linux process in which RDTSC traps (prctl(2), PR_SET_TSC), CPUID traps (arch_prctl(2), ARCH_SET_CPUID), and system calls
    /// trap.
    /// </summary>
    public DirectUse Direct => Mnemonic switch
    {
        // If the host is a virtual machine, its hypervisor handles it.
        Mnemonic.Vmcall => DirectUse.ShowsHost,
        _ when Class == SensitivityClass.Privileged => DirectUse.Traps,
        Mnemonic.Syscall or Mnemonic.Int or Mnemonic.Int1 or Mnemonic.Int3 or Mnemonic.Into or Mnemonic.Ud0 or Mnemonic.Ud1 or Mnemonic.Ud2
            or Mnemonic.INVALID or Mnemonic.Rdtsc or Mnemonic.Rdtscp or Mnemonic.Cpuid => DirectUse.Traps,
        Mnemonic.Rdpid or Mnemonic.Rdpmc or Mnemonic.Rdpru or Mnemonic.Lar or Mnemonic.Lsl or Mnemonic.Verr or Mnemonic.Verw
            or Mnemonic.Sgdt or Mnemonic.Sidt or Mnemonic.Sldt or Mnemonic.Smsw or Mnemonic.Str or Mnemonic.Sysenter or Mnemonic.Xgetbv
            or Mnemonic.Rdpkru or Mnemonic.Wrpkru or Mnemonic.Vmmcall or Mnemonic.Vmgexit or Mnemonic.Vmfunc
            or Mnemonic.Umonitor or Mnemonic.Umwait or Mnemonic.Tpause or Mnemonic.Monitorx or Mnemonic.Mwaitx => DirectUse.ShowsHost,
        _ => DirectUse.Runs,
    };
}
