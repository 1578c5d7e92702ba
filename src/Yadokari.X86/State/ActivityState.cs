namespace Yadokari.X86.State;

/// <summary>Whether a processor executes instructions (Intel SDM volume 3, 25.4.2).</summary>
public enum ActivityState
{
    /// <summary>It does.</summary>
    Active,

    /// <summary>It executed HLT: an NMI ends that, and an interrupt if RFLAGS.IF is set.</summary>
    Halted,

    /// <summary>It met a triple fault.</summary>
    Shutdown,

    /// <summary>It received INIT and waits for a start-up message (SIPI). The machine, which handles these messages for the vCPU, sets it.</summary>
    WaitForSipi,
}

/// <summary>An exception or interrupt on its way through the IDT.</summary>
/// <param name="Vector">Its vector.</param>
/// <param name="IsInterrupt">An external interrupt or an NMI; else an exception.</param>
/// <param name="ErrorCode">What it pushes, or null.</param>
public readonly record struct PendingEvent(byte Vector, bool IsInterrupt, uint? ErrorCode = null);
