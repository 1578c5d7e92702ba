using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Yadokari.Architecture.Tests;

/// <summary>Holds the arrows between rooms: references point one way, and devices and engines do not know each other.</summary>
public sealed partial class ReferenceTests
{
    private static readonly string[] s_middle = ["Linux", "X86", "Devices", "Paravirt", "Images"];

    // What each room may see. A room that is not here is new: say where it belongs.
    private static readonly Dictionary<string, string[]> s_allowed = new()
    {
        ["Core"] = [],
        ["Linux"] = ["Core"],
        ["X86"] = ["Core"],
        ["Devices"] = ["Core"],
        ["Paravirt"] = ["Core"],
        ["Images"] = ["Core"],
        ["Debugging"] = ["Core", "X86"],

        // An engine never sees a device, nor another engine.
        ["Translation"] = ["Core", "Linux", "X86"],
        ["Kvm"] = ["Core", "Linux", "X86"],
        ["Disks"] = ["Core", "Linux"],
        ["Networks"] = ["Core", "Linux"],
        ["Shares"] = ["Core", "Linux"],
        ["Boards"] = ["Core", .. s_middle, "Disks", "Networks", "Shares"],
        ["Machines"] = ["Core", .. s_middle, "Boards"],
        ["Yadokari"] = ["Core", .. s_middle, "Disks", "Networks", "Shares", "Translation", "Kvm", "Boards", "Machines"],
        ["Host"] = ["Core", .. s_middle, "Disks", "Networks", "Shares", "Debugging", "Translation", "Kvm", "Boards", "Machines"],
        ["Cli"] = ["Core", .. s_middle, "Disks", "Networks", "Translation", "Boards", "Host"],
    };

    public static TheoryData<string> Rooms => [.. Repository.References("src").Keys.Select(Short).Order()];

    [Theory]
    [MemberData(nameof(Rooms))]
    public void Room_sees_only_what_it_may(string room)
    {
        Assert.True(s_allowed.ContainsKey(room), $"{room} has no place among the rooms yet: give it one in this test.");
        string[] seen = [.. Repository.AssemblyReferences(Project(room)).Select(Short)];
        Assert.Equal([], seen.Except(s_allowed[room]));
    }

    // What a project names and does not use is an arrow that is not there. The package is made of what it names: also of what its rooms use.
    [Theory]
    [MemberData(nameof(Rooms))]
    public void Room_names_only_what_it_uses(string room)
    {
        IEnumerable<string> used = Repository.AssemblyReferences(Project(room));
        Assert.Equal(room == "Yadokari" ? used.Concat(used.SelectMany(Repository.AssemblyReferences)).Distinct().Order(StringComparer.Ordinal) : used, Repository.References("src")[Project(room)]);
    }

    [Fact]
    public void No_room_sees_tests_or_benchmarks()
    {
        string[] outside = [.. Repository.Projects("tests").Concat(Repository.Projects("bench")).Select(file => Path.GetFileNameWithoutExtension(file))];
        Assert.NotEmpty(outside);
        Assert.Empty(Repository.References("src").Values.SelectMany(references => references).Intersect(outside));
    }

    [Fact]
    public void Only_three_rooms_are_unsafe()
    {
        string[] allowed = ["Yadokari.Core", "Yadokari.Linux", "Yadokari.Translation"];
        string[] found = [.. Repository.Projects("src")
            .Where(file => XDocument.Load(file).Descendants("AllowUnsafeBlocks").Any(switched => switched.Value == "true"))
            .Select(file => Path.GetFileNameWithoutExtension(file))];
        Assert.Empty(found.Except(allowed));
    }

    // One that begins elsewhere may let an exception end the process, and leave a terminal as it is.
    [Fact]
    public void Threads_begin_in_one_place()
    {
        string[] found = [.. Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && File.ReadAllText(file).Contains("new Thread(", StringComparison.Ordinal))
            .Select(file => Path.GetFileName(file))];
        Assert.Equal(["HostThread.cs"], found);
    }

    // Console's streams set a terminal up for line editing, and throw where nobody reads: all that yado says goes through StandardStreams.
    [Fact]
    public void Only_bars_are_drawn_by_consoles_streams()
    {
        string[] found = [.. Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && ConsoleStream().IsMatch(File.ReadAllText(file)))
            .Select(file => Path.GetFileName(file))];
        Assert.Equal(["BarProgress.cs"], found);
    }

    [Fact]
    public void Solution_holds_every_project()
    {
        string[] listed = [.. XDocument.Load(Path.Combine(Repository.Root, "Yadokari.slnx")).Descendants("Project")
            .Select(project => project.Attribute("Path")!.Value.Replace('\\', '/')).Order(StringComparer.Ordinal)];
        string[] there = [.. new[] { "src", "tests", "bench", "examples" }.SelectMany(Repository.Projects)
            .Select(file => Path.GetRelativePath(Repository.Root, file)).Order(StringComparer.Ordinal)];
        Assert.Equal(there, listed);
    }

    [GeneratedRegex(@"\bConsole\.(Out|Error|Write|OpenStandard)")]
    private static partial Regex ConsoleStream();

    // The package's own project is named as the package is.
    private static string Project(string room) => Repository.References("src").Keys.Single(project => Short(project) == room);

    private static string Short(string project) => project == "Yadokari" ? project : project["Yadokari.".Length..];
}
