using System.Text.RegularExpressions;

namespace Yadokari.Architecture.Tests;

/// <summary>Comments, names and messages name the thing that acts, by the field's term, rather than "who" acts or what is "gone".</summary>
public sealed partial class WordingTests
{
    [Fact]
    public void Sources_name_what_acts_by_its_term()
    {
        string source = Path.Combine(Repository.Root, "src");
        string[] files = [.. Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories).Where(file => !file.Contains("/obj/", StringComparison.Ordinal)).Order()];
        Assert.True(files.Length > 500, $"Only {files.Length} files were found.");
        Assert.Equal([], files.SelectMany(file => File.ReadLines(file)
            .Where(line => Words().IsMatch(line))
            .Select(line => $"{Path.GetRelativePath(source, file)}: {line.Trim()}")));
    }

    [Theory]
    [InlineData("// Whoever holds it waits.", 1)]
    [InlineData("/// <summary>Tells who waits for whom.</summary>", 2)]
    [InlineData("NoteIfGone(page); _gone = true; goneAt = 0;", 3)]
    [InlineData("// The whole of it, whose end was foregone at last.", 0)]
    public void Words_count_in_comments_and_as_parts_of_names(string text, int count) => Assert.Equal(count, Words().Count(text));

    // In a name, a word begins with a capital or behind what is no letter, and ends where no small letter follows.
    [GeneratedRegex("(?:(?<![A-Za-z])(?:who|whom|whoever|gone|lasting)|Who|Whom|Whoever|Gone|Lasting)(?![a-z])")]
    private static partial Regex Words();
}
