using System.Text.RegularExpressions;

namespace Yadokari.Architecture.Tests;

/// <summary>Tests read alike: names of one style, and no wait for a time where there is something to wait for.</summary>
public sealed partial class TestStyleTests
{
    [Fact]
    public void Tests_are_named_by_words_with_underscores_between()
    {
        string[] names = [.. Sources().SelectMany(file => Test().Matches(File.ReadAllText(file))).Select(match => match.Groups[1].Value)];
        Assert.True(names.Length > 900, $"Only {names.Length} tests were found.");
        Assert.Equal([], names.Where(name => PascalCase().IsMatch(name)));
    }

    [Fact]
    public void A_pause_in_a_test_says_why_it_is_one()
    {
        string[] pauses = [.. Sources().SelectMany(File.ReadLines).Where(line => Pause().IsMatch(line))];
        Assert.NotEmpty(pauses);
        Assert.Equal([], pauses.Where(line => !line.Contains(" // ", StringComparison.Ordinal)));
    }

    private static IEnumerable<string> Sources() => Directory
        .EnumerateFiles(Path.Combine(Repository.Root, "tests"), "*.cs", SearchOption.AllDirectories)
        .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.EndsWith(nameof(TestStyleTests) + ".cs", StringComparison.Ordinal));

    // The name of the method behind the attribute; between them may be more attributes, and comments.
    [GeneratedRegex(@"^ +\[(?:Fact|Theory)\b[^\n]*\n(?: +(?:\[|//|/\*)[^\n]*\n)* +public [^(\n]*?(\w+)\(", RegexOptions.Multiline)]
    private static partial Regex Test();

    [GeneratedRegex("[a-z0-9][A-Z][a-z]|^[A-Z]{2}[a-z]")]
    private static partial Regex PascalCase();

    [GeneratedRegex(@"\b(Thread\.Sleep|Task\.Delay)\(")]
    private static partial Regex Pause();
}
