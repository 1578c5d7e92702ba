using System.Globalization;
using System.Text;

namespace Yadokari.Bench;

/// <summary>
/// The comparison as a picture in SVG: for each workload how many times as long as the processor itself TCG and Yadokari take, as bars on a
/// logarithmic scale, shorter being better.
/// </summary>
internal static class Chart
{
    private const int LabelWidth = 220;
    private const int PlotWidth = 560;
    private const int RowHeight = 40;
    private const int BarHeight = 14;
    private const int Top = 86;
    private const int RightMargin = 90;
    private const string Tcg = "#9aa5b1";
    private const string Yadokari = "#d9480f";

    /// <summary>The document's text.</summary>
    /// <param name="comparisons">What was measured; workloads without a native time are left out.</param>
    /// <param name="host">A few words on the host, for the foot.</param>
    public static string Draw(IReadOnlyList<Comparison> comparisons, string host)
    {
        var rows = comparisons
            .Where(static comparison => comparison.Ratio("TCG", "native") is not null || comparison.Ratio("Yadokari", "native") is not null)
            .ToList();
        var ratios = rows.SelectMany(static row => new[] { row.Ratio("TCG", "native") ?? 1, row.Ratio("Yadokari", "native") ?? 1 });
        var most = Math.Max(10, ratios.DefaultIfEmpty(10).Max());
        var width = LabelWidth + PlotWidth + RightMargin;
        var bottom = Top + rows.Count * RowHeight;
        var svg = new Svg(width, bottom + 70);
        svg.Text(24, 32, "Time over the processor's own", "title");
        svg.Text(24, 54, "the same program in a guest, divided by its time on the host; logarithmic, shorter is better", "note");
        svg.Bar(LabelWidth, 64, 12, 10, Yadokari);
        svg.Text(LabelWidth + 18, 73, "Yadokari", "label");
        svg.Bar(LabelWidth + 96, 64, 12, 10, Tcg);
        svg.Text(LabelWidth + 114, 73, "QEMU TCG", "label");

        foreach (var tick in Ticks(most))
        {
            var x = LabelWidth + Position(tick, most);
            svg.Line(x, Top, x, bottom, tick == 1 ? "axis" : "grid");
            svg.Text(x, bottom + 18, Number(tick) + "×", "tick");
        }
        for (var i = 0; i < rows.Count; i++)
        {
            var y = Top + i * RowHeight + 4;
            svg.Text(LabelWidth - 12, y + 20, rows[i].Workload.What, "name");
            Bar(svg, y, rows[i].Ratio("Yadokari", "native"), most, Yadokari);
            Bar(svg, y + BarHeight + 2, rows[i].Ratio("TCG", "native"), most, Tcg);
        }
        svg.Text(24, bottom + 48, host, "note");
        return svg.ToString();
    }

    private static void Bar(Svg svg, double y, double? ratio, double most, string colour)
    {
        if (ratio is not { } value)
            return;
        // A guest that is as fast as the host, or faster by chance, still gets a visible bar.
        var length = Math.Max(2, Position(Math.Max(1, value), most));
        svg.Bar(LabelWidth, y, length, BarHeight, colour);
        svg.Text(LabelWidth + length + 6, y + 11, Number(value) + "×", "label");
    }

    private static double Position(double ratio, double most) => Math.Log(ratio) / Math.Log(most) * PlotWidth;

    private static IEnumerable<double> Ticks(double most)
    {
        foreach (var tick in (double[])[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
        {
            if (tick <= most)
                yield return tick;
        }
    }

    private static string Number(double value) => value.ToString(value < 9.95 ? "0.#" : "0", CultureInfo.InvariantCulture);

    /// <summary>The few shapes of SVG 1.1 that are needed here.</summary>
    private sealed class Svg
    {
        private readonly StringBuilder _text = new();

        public Svg(int width, int height)
        {
            _text.AppendLine(CultureInfo.InvariantCulture, $"""
                <svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
                     font-family="system-ui, sans-serif">
                """);
            _text.AppendLine("""
                <style>
                  .title { font-size: 18px; font-weight: 600; fill: #1f2933 }
                  .note { font-size: 12px; fill: #52606d }
                  .label { font-size: 12px; fill: #1f2933 }
                  .name { font-size: 12px; fill: #1f2933; text-anchor: end }
                  .tick { font-size: 11px; fill: #52606d; text-anchor: middle }
                  .grid { stroke: #e4e7eb }
                  .axis { stroke: #52606d }
                </style>
                """);
            _text.AppendLine(CultureInfo.InvariantCulture, $"""<rect width="{width}" height="{height}" fill="#ffffff"/>""");
        }

        public void Bar(double x, double y, double width, double height, string colour) =>
            _text.AppendLine(
                CultureInfo.InvariantCulture,
                $"""<rect x="{x:0.#}" y="{y:0.#}" width="{width:0.#}" height="{height:0.#}" rx="2" fill="{colour}"/>""");

        public void Line(double x1, double y1, double x2, double y2, string kind) =>
            _text.AppendLine(
                CultureInfo.InvariantCulture,
                $"""<line x1="{x1:0.#}" y1="{y1:0.#}" x2="{x2:0.#}" y2="{y2:0.#}" class="{kind}"/>""");

        public void Text(double x, double y, string text, string kind)
        {
            var escaped = text.Replace("&", "&amp;").Replace("<", "&lt;");
            _text.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{x:0.#}" y="{y:0.#}" class="{kind}">{escaped}</text>""");
        }

        public override string ToString() => _text + "</svg>\n";
    }
}
