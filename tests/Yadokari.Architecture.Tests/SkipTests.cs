using System.Text.RegularExpressions;

namespace Yadokari.Architecture.Tests;

/// <summary>What <c>./test</c> reads from tests/skips holds what the tests say, so that a reason nobody knows is seen where it is written.</summary>
public sealed partial class SkipTests
{
    private static readonly string s_list = Path.Combine(Repository.Root, "tests", "skips");

    [Fact]
    public void Every_reason_in_the_tests_is_known()
    {
        Regex[] known = [.. File.ReadLines(s_list)
            .Where(line => line.Length > 0 && line[0] != '#')
            .Select(line => new Regex(line.Split((char[]?)null, 3, StringSplitOptions.RemoveEmptyEntries)[2]))];
        string[] reasons = [.. Directory.EnumerateFiles(Path.Combine(Repository.Root, "tests"), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal))
            .SelectMany(file => Skip().Matches(File.ReadAllText(file)))
            .Select(match => Hole().Replace(match.Groups[1].Value, "x"))
            .Distinct()];
        Assert.True(reasons.Length > 20);
        Assert.Equal([], reasons.Where(reason => !known.Any(pattern => pattern.IsMatch(reason))));
    }

    // The text at the end of the call.
    [GeneratedRegex("""Assert\.Skip(?:When|Unless)?\([^;]*?\$?"([^";]+)"\);""")]
    private static partial Regex Skip();

    [GeneratedRegex(@"\{[^}]*\}")]
    private static partial Regex Hole();
}
