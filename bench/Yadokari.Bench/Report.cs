using System.Globalization;
using System.Text;

namespace Yadokari.Bench;

/// <summary>The table that is printed, and the same as tab-separated values.</summary>
internal static class Report
{
    private static readonly string[] s_heads =
        ["workload", "what", "native", "TCG", "Yadokari", "TCG/native", "Yadokari/native", "faster than TCG", "target"];

    /// <summary>Lines of text with columns of even width.</summary>
    public static string Table(IReadOnlyList<Comparison> comparisons) => Columns([s_heads, .. comparisons.Select(Row)]);

    /// <summary>The same of the ways to run a guest's programs: how many times as long the default takes as the better of the others.</summary>
    public static string Ways(IReadOnlyList<Comparison> comparisons) => Columns(
    [
        ["workload", "what", "default", .. Yado.Ways, "default/better"],
        .. comparisons.Select(static comparison => (string[])
        [
            comparison.Workload.Name,
            comparison.Workload.What,
            Amount(comparison, "Yadokari"),
            .. Yado.Ways.Select(way => Amount(comparison, way)),
            Times(Yado.Ways.Max(way => comparison.Ratio("Yadokari", way))),
        ]),
    ]);

    private static string Columns(List<string[]> rows)
    {
        var widths = Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length)).ToArray();
        var text = new StringBuilder();
        foreach (var row in rows)
        {
            var cells = row.Select((cell, column) => column < 2 ? cell.PadRight(widths[column]) : cell.PadLeft(widths[column]));
            text.AppendJoin("  ", cells).AppendLine();
        }
        return text.ToString();
    }

    /// <summary>One line for each workload, tab-separated, numbers with a point, for programs to read.</summary>
    public static string Values(IReadOnlyList<Comparison> comparisons)
    {
        var text = new StringBuilder().AppendJoin('\t', s_heads).AppendLine();
        foreach (var comparison in comparisons)
            text.AppendJoin('\t', Row(comparison)).AppendLine();
        return text.ToString();
    }

    /// <summary>A line for each contender: how many times faster the same work is on two processors. None where it was not measured.</summary>
    public static IEnumerable<string> Scaling(IReadOnlyList<Comparison> comparisons)
    {
        var one = comparisons.FirstOrDefault(static comparison => comparison.Workload == Workload.MakeOnOne);
        var two = comparisons.FirstOrDefault(static comparison => comparison.Workload == Workload.MakeOnTwo);
        foreach (var contender in (string[])["TCG", "Yadokari"])
        {
            if (one?.Best(contender) is { } alone && two?.Best(contender) is { Cost: > 0 } both)
                yield return $"{contender}: two processors are {Times(alone.Cost / both.Cost)} times as fast as one (make)";
        }
    }

    private static string[] Row(Comparison comparison) =>
    [
        comparison.Workload.Name,
        comparison.Workload.What,
        Amount(comparison, "native"),
        Amount(comparison, "TCG"),
        Amount(comparison, "Yadokari"),
        Times(comparison.Ratio("TCG", "native")),
        Times(comparison.Ratio("Yadokari", "native")),
        Times(comparison.Ratio("TCG", "Yadokari")) + Verdict(comparison),
        Times(comparison.Workload.Target),
    ];

    private static string Verdict(Comparison comparison) => comparison.Ratio("TCG", "Yadokari") switch
    {
        null => "",
        { } ratio => ratio >= comparison.Workload.Target ? " +" : " -",
    };

    private static string Amount(Comparison comparison, string contender) => comparison.Best(contender) switch
    {
        null => "",
        { Rate: > 1e6 } best => string.Create(CultureInfo.InvariantCulture, $"{best.Rate / 1e6:0} MB/s"),
        { Rate: > 0 } best => string.Create(CultureInfo.InvariantCulture, $"{best.Rate:0} /s"),
        { } best => string.Create(CultureInfo.InvariantCulture, $"{best.Seconds:0.00} s"),
    };

    private static string Times(double? ratio) =>
        ratio is { } value ? value.ToString(value < 10 ? "0.00" : "0.0", CultureInfo.InvariantCulture) : "";
}
