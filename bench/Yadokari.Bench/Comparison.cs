namespace Yadokari.Bench;

/// <summary>All measurements of one workload.</summary>
internal sealed class Comparison(Workload workload)
{
    // Smaller differences between the clocks are noise of a run and of the console.
    private const double DriftToMention = 0.05;
    private const double SecondsToMention = 0.1;

    private readonly Dictionary<string, List<Measurement>> _runs = [];

    public Workload Workload { get; } = workload;

    /// <summary>Adds one run of a contender.</summary>
    public void Add(string contender, Measurement measurement)
    {
        if (!_runs.TryGetValue(contender, out var list))
            _runs[contender] = list = [];
        list.Add(measurement);
    }

    /// <summary>The best run of a contender, or null if it has none that ended well.</summary>
    public Measurement? Best(string contender) =>
        _runs.GetValueOrDefault(contender)?.Where(static run => run.Failure is null).MinBy(static run => run.Cost);

    /// <summary>The cost under <paramref name="one"/> over that under <paramref name="other"/>; null if either is missing.</summary>
    public double? Ratio(string one, string other) =>
        Best(one) is { } first && Best(other) is { Cost: > 0 } second ? first.Cost / second.Cost : null;

    /// <summary>Warnings for the reader: failures, different results, clocks that differ.</summary>
    public IEnumerable<string> Remarks()
    {
        foreach (var (contender, runs) in _runs)
        {
            if (runs.FirstOrDefault(static run => run.Failure is not null) is { } failed)
                yield return $"{Workload.Name}: {contender} failed: {failed.Failure}";
            if (runs.Find(ClockDiffers) is { } strayed)
            {
                yield return $"{Workload.Name}: {contender}'s clock measured {strayed.Seconds:0.00} s "
                    + $"and the host's {strayed.HostSeconds:0.00} s";
            }
        }
        var results = _runs
            .SelectMany(static pair => pair.Value.Where(static run => run.Failure is null).Select(run => (Contender: pair.Key, run.Result)))
            .Distinct()
            .ToList();
        if (results.Select(static pair => pair.Result).Distinct().Count() > 1)
        {
            var list = string.Join("; ", results.Select(static pair => $"{pair.Contender} {pair.Result}"));
            yield return $"{Workload.Name}: RESULTS DIFFER: {list}";
        }
    }

    private static bool ClockDiffers(Measurement run) =>
        run.Drift > DriftToMention && Math.Abs(run.Seconds - run.HostSeconds) > SecondsToMention;
}
