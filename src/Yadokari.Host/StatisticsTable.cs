using System.Globalization;

namespace Yadokari.Host;

/// <summary>The table that <c>--stats</c> prints.</summary>
internal static class StatisticsTable
{
    /// <summary>Writes counters group by group, in the order given.</summary>
    public static void Write(TextWriter output, IEnumerable<(string Group, string Name, double Value, string Unit)> counters, string lineEnd)
    {
        string? group = null;
        foreach ((string counterGroup, string name, double value, string unit) in counters)
        {
            if (counterGroup != group)
            {
                group = counterGroup;
                output.Write($"{group}{lineEnd}");
            }

            string number = value.ToString(value == Math.Floor(value) ? "N0" : "N3", CultureInfo.InvariantCulture);
            output.Write($"  {name,-36} {number,20} {unit}".TrimEnd() + lineEnd);
        }
    }
}
