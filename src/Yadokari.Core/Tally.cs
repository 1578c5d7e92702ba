namespace Yadokari.Core;

/// <summary>Counts things by name, however many a guest can think of: those that come first by their own, the rest together. Any thread.</summary>
public sealed class Tally
{
    private const int MostNames = 64;
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
            name = _counts.Count < MostNames || _counts.ContainsKey(name) ? name : Rest;
            _counts[name] = _counts.GetValueOrDefault(name) + 1;
        }
    }
}
