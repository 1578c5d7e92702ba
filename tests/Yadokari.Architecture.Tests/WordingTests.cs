using System.Text.RegularExpressions;

namespace Yadokari.Architecture.Tests;

/// <summary>Comments, names and messages name the thing that acts, by the field's term, rather than "who" acts or what is "gone".</summary>
public sealed partial class WordingTests
{
    // Files that still have such words, and how many: a number may shrink, and a file that has none any more loses its line.
    private static readonly Dictionary<string, int> s_allowed = new()
    {
        ["Yadokari.Debugging/Gdb/GdbCommands.cs"] = 3,
        ["Yadokari.Translation/Code/Block.cs"] = 1,
        ["Yadokari.Translation/Code/CrossPageLinks.cs"] = 8,
        ["Yadokari.Translation/Code/FlagLiveness.cs"] = 1,
        ["Yadokari.Translation/Code/Stubs.cs"] = 5,
        ["Yadokari.Translation/Code/TranslatedCode.cs"] = 3,
        ["Yadokari.Translation/Direct/DirectExecution.cs"] = 1,
        ["Yadokari.Translation/Direct/Sandbox.cs"] = 6,
        ["Yadokari.Translation/Emulation/TaskSwitches.cs"] = 1,
        ["Yadokari.Translation/InstructionTreatments.cs"] = 1,
        ["Yadokari.Translation/Memory/Coherence.cs"] = 6,
        ["Yadokari.Translation/Memory/RequestQueue.cs"] = 1,
        ["Yadokari.Translation/Memory/Tlb.cs"] = 1,
        ["Yadokari.Translation/TranslationEngine.cs"] = 1,
        ["Yadokari.Translation/Vcpu.Exits.cs"] = 4,
    };

    [Fact]
    public void Sources_name_what_acts_by_its_term()
    {
        string source = Path.Combine(Repository.Root, "src");
        string[] files = [.. Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories).Where(file => !file.Contains("/obj/", StringComparison.Ordinal)).Order()];
        Assert.True(files.Length > 500, $"Only {files.Length} files were found.");
        Assert.Equal([], files.SelectMany(file => Excess(Path.GetRelativePath(source, file), File.ReadAllText(file))));
    }

    [Theory]
    [InlineData("// Whoever holds it waits.", 1)]
    [InlineData("/// <summary>Tells who waits for whom.</summary>", 2)]
    [InlineData("NoteIfGone(page); _gone = true; goneAt = 0;", 3)]
    [InlineData("// The whole of it, whose end was foregone at last.", 0)]
    public void Words_count_in_comments_and_as_parts_of_names(string text, int count) => Assert.Equal(count, Words().Count(text));

    // The lines with such words, where a file has more of them than it may.
    private static IEnumerable<string> Excess(string file, string text) => Words().Count(text) <= s_allowed.GetValueOrDefault(file)
        ? []
        : text.Split('\n').Where(line => Words().IsMatch(line)).Select(line => $"{file}: {line.Trim()}");

    // In a name, a word begins with a capital or behind what is no letter, and ends where no small letter follows.
    [GeneratedRegex("(?:(?<![A-Za-z])(?:who|whom|whoever|gone|lasting)|Who|Whom|Whoever|Gone|Lasting)(?![a-z])")]
    private static partial Regex Words();
}
