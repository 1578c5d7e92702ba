namespace Yadokari.Core.Engines;

/// <summary>
/// The base of all vCPUs' counters: of the time-stamp counters on x86, of the generic timers on Arm. A vCPU's own counter may have an offset that
/// the guest wrote, which is part of that vCPU's state (on x86 IA32_TSC_ADJUST; Intel SDM volume 3, 18.17.3). Members may be called from any
/// thread with no lock held.
/// </summary>
public interface IGuestClock
{
    /// <summary>Hz; constant, more than 0.</summary>
    ulong Frequency { get; }

    /// <summary>The current count. 0 when the machine was created.</summary>
    ulong Read();

    /// <summary>
    /// Sets the clock, stopped or not. All vCPUs' counters change with it, and their hosts are notified. For a machine that is reset or loaded.
    /// </summary>
    void Set(ulong value);

    /// <summary>
    /// Stops the clock: its value does not change until <see cref="Start"/>. No vCPU may run meanwhile: <see cref="IVcpu.Run"/> throws. Does
    /// nothing if the clock is stopped.
    /// </summary>
    /// <exception cref="InvalidOperationException">A vCPU runs.</exception>
    void Stop();

    /// <summary>Starts the clock from the value at which it stopped. Does nothing if the clock is not stopped.</summary>
    void Start();

    /// <summary>
    /// Called after the host was suspended. If the host's counter stopped meanwhile and the clock is not stopped, adjusts the clock and notifies
    /// the vCPUs' hosts.
    /// </summary>
    void CatchUp();
}
