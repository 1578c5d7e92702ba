using Microsoft.Extensions.Logging;

namespace Yadokari.Host.Control;

/// <summary>Controls a machine that runs in this process. All members may be called from any thread.</summary>
internal interface IMonitor
{
    /// <summary>The machine's events.</summary>
    RunEvents Events { get; }

    /// <summary>The monitor's log.</summary>
    ILogger Log { get; }

    /// <summary>Whether the machine is paused.</summary>
    bool IsPaused { get; }

    /// <summary>Pauses or resumes the machine; does nothing if it is in that state already. False if the machine restarts or ends.</summary>
    bool SetPaused(bool paused);

    /// <summary>Presses the power button.</summary>
    void PressPower();

    /// <summary>Ends the run with an exit code.</summary>
    void End(int code);

    /// <summary>Types into the console. Returns how many bytes its buffer had room for.</summary>
    int Type(ReadOnlySpan<byte> keys);

    /// <summary>Sets the size of the console's terminal that the guest sees.</summary>
    void Resize(int rows, int columns);

    /// <summary>As <see cref="IGuestMachine.Use"/>; null while the machine restarts or ends.</summary>
    TResult? Use<T, TResult>(Func<T, TResult> call)
        where T : class
        where TResult : struct;

    /// <summary>As <see cref="IGuestMachine.Statistics"/>; empty while the machine restarts or ends.</summary>
    IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics { get; }

    /// <summary>Ends the run because of an unexpected exception, which is reported as an internal error.</summary>
    void Fail(Exception error);
}

/// <summary>Properties that do not change while a machine runs.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Vcpus">Count of vCPUs.</param>
/// <param name="Memory">Memory size in bytes.</param>
/// <param name="Started">When the machine started.</param>
internal sealed record MachineDescription(string Name, int Vcpus, ulong Memory, DateTimeOffset Started);
