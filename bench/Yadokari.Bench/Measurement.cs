namespace Yadokari.Bench;

/// <summary>One run of one workload under one contender.</summary>
internal sealed record Measurement
{
    /// <summary>Why the run failed; null for a successful run.</summary>
    public string? Failure { get; init; }

    /// <summary>Seconds by the clock of the machine that ran it.</summary>
    public double Seconds { get; init; }

    /// <summary>Seconds between the same two marks as the host saw them arrive.</summary>
    public double HostSeconds { get; init; }

    /// <summary>Work a second, for workloads that count it; otherwise 0.</summary>
    public double Rate { get; init; }

    /// <summary>The program's result; must be the same under all contenders. Empty for workloads that count.</summary>
    public string Result { get; init; } = "";

    /// <summary>Time for a fixed amount of work, in a unit that is the same for all contenders; ratios compare it.</summary>
    public double Cost => Rate > 0 ? 1 / Rate : Seconds;

    /// <summary>The difference between the machine's and the host's clock over the run, as a fraction of the run.</summary>
    public double Drift => HostSeconds > 0 ? Math.Abs(Seconds - HostSeconds) / HostSeconds : 0;

    /// <summary>A failed run.</summary>
    public static Measurement Failed(string why) => new() { Failure = why };
}
