namespace Yadokari.Core.Engines;

/// <summary>A machine's run control: how a debugger holds its vCPUs and lets them run on. One debugger at a time.</summary>
public interface IRunControl
{
    /// <summary>
    /// Called on a vCPU's thread with <see cref="VmExit.Debug"/> or <see cref="VmExit.Shutdown"/>, before the machine acts on it. True holds that vCPU until
    /// <see cref="Release"/>. Set before the machine runs; it must neither throw nor wait for a vCPU.
    /// </summary>
    Func<int, VmExit, bool>? DebugExit { get; set; }

    /// <summary>
    /// Holds all vCPUs: when this returns none runs guest code and the machine isn't reset, until <see cref="Release"/>. Nothing changes where they are held
    /// already. Any thread but a vCPU's, with no lock held that a device or <see cref="DebugExit"/> takes.
    /// </summary>
    /// <returns>False where the machine's run has ended: nothing is to be released then.</returns>
    bool HoldAll();

    /// <summary>Releases the vCPUs after <see cref="HoldAll"/>. Any thread.</summary>
    /// <param name="stay">For each vCPU, by number, whether it stays held while the others run.</param>
    void Release(ReadOnlySpan<bool> stay);
}
