namespace Yadokari.Core;

/// <summary>Counters by name, bounded in number, since the guest chooses the names: the first names have counters of their own, all others share one. Any thread.</summary>
public sealed class Tally
{
    private const int MaxNames = 64;
    private const string Rest = "others";

    private readonly Lock _lock = new();
    private readonly Dictionary<string, long> _counts = [];

    /// <summary>What was counted so far.</summary>
    public IReadOnlyList<(string Name, long Count)> Counts
    {
        get
        {
            lock (_lock)
            {
                return [.. _counts.Select(c => (c.Key, c.Value)).OrderByDescending(c => c.Value)];
            }
        }
    }

    /// <summary>Counts one.</summary>
    public void Count(string name)
    {
        lock (_lock)
        {
            name = _counts.Count < MaxNames || _counts.ContainsKey(name) ? name : Rest;
            _counts[name] = _counts.GetValueOrDefault(name) + 1;
        }
    }
}
