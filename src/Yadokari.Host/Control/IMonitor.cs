using Microsoft.Extensions.Logging;

namespace Yadokari.Host.Control;

/// <summary>A machine that runs in this process, as those who control it see it. All may be called from any thread.</summary>
internal interface IMonitor
{
    /// <summary>What happens to the machine.</summary>
    RunEvents Events { get; }

    /// <summary>Gets what is worth to be logged.</summary>
    ILogger Log { get; }

    /// <summary>Whether the machine is paused.</summary>
    bool IsPaused { get; }

    /// <summary>Pauses the machine, which may be paused already, or has it go on; false where it starts anew just now, or ends.</summary>
    bool SetPaused(bool paused);

    /// <summary>Presses the power button.</summary>
    void PressPower();

    /// <summary>Ends the run with an exit code.</summary>
    void End(int code);

    /// <summary>Types into the console. Returns how many keys there was room for.</summary>
    int Type(ReadOnlySpan<byte> keys);

    /// <summary>Tells the guest of the size of its console's terminal.</summary>
    void Resize(int rows, int columns);

    /// <summary>As <see cref="IGuestMachine.Use"/>; null where the machine starts anew, or ends.</summary>
    TResult? Use<T, TResult>(Func<T, TResult> call)
        where T : class
        where TResult : struct;

    /// <summary>As <see cref="IGuestMachine.Statistics"/>; empty where the machine starts anew, or ends.</summary>
    IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics { get; }

    /// <summary>Ends the run by an exception that nothing expected.</summary>
    void Fail(Exception error);
}

/// <summary>What does not change while a machine runs.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Vcpus">How many vCPUs.</param>
/// <param name="Memory">Bytes of memory that it is built with.</param>
/// <param name="Started">When it started.</param>
internal sealed record MachineDescription(string Name, int Vcpus, ulong Memory, DateTimeOffset Started);
