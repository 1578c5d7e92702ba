namespace Yadokari.Core.Engines;

/// <summary>
/// The clock that a machine's vCPUs count by: x86's time-stamp counters, the generic timer of Arm. A vCPU's own counter may differ from it by
/// what the guest wrote there, which is part of that vCPU's state (on x86 IA32_TSC_ADJUST; Intel SDM volume 3, 18.17.3). Members may be
/// called from any thread with no lock held.
/// </summary>
public interface IGuestClock
{
    /// <summary>Hz; constant, more than 0.</summary>
    ulong Frequency { get; }

    /// <summary>The clock now. 0 when the machine was made.</summary>
    ulong Read();

    /// <summary>
    /// Sets the clock, stopped or not. vCPUs' counters move with it, which their hosts are told. For a machine that is reset or loaded.
    /// </summary>
    void Set(ulong value);

    /// <summary>
    /// Stops the clock, which reads the same until <see cref="Start"/>. While it is stopped no vCPU may run: <see cref="IVcpu.Run"/> throws.
    /// Nothing if it is stopped.
    /// </summary>
    /// <exception cref="InvalidOperationException">A vCPU runs.</exception>
    void Stop();

    /// <summary>Has the clock go on from where it stopped. Nothing if it is not stopped.</summary>
    void Start();

    /// <summary>
    /// The host slept: if its counter did not count on meanwhile and the clock is not stopped, the clock is put right, and vCPUs' hosts are
    /// told.
    /// </summary>
    void CatchUp();
}
