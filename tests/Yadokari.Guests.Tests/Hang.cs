using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Yadokari.Guests.Tests;

/// <summary>
/// What is done about a machine that hangs. The first of them shows what its threads did. What made one hang makes the next hang too, as a rule, and each
/// takes minutes: after a few, tests that would boot a machine fail at once, so that the run ends and tells of them.
/// </summary>
internal static class Hang
{
    private const int Most = 4;

    private static int s_count;

    /// <summary>Fails the test if so many machines hung already that nothing new would be learned.</summary>
    public static void FailIfTooMany()
    {
        if (Volatile.Read(ref s_count) >= Most)
            Assert.Fail($"{Most} machines of tests before this one hung: see to them first.");
    }

    /// <summary>A process and those that it started did not do in time what they should: says what their threads do.</summary>
    public static string Describe(Process process)
    {
        Interlocked.Increment(ref s_count);
        var text = new StringBuilder();
        foreach (var id in WithChildren(process.Id))
            Describe(id, text);
        return text.ToString();
    }

    private static List<int> WithChildren(int process)
    {
        List<int> all = [process];
        for (var i = 0; i < all.Count; i++)
            all.AddRange(Directory.GetDirectories("/proc").Select(static path => int.TryParse(Path.GetFileName(path), CultureInfo.InvariantCulture, out var id) ? id : 0).Where(id => id != 0 && Stat(id, id) is { } stat && stat[1] == $"{all[i]}"));
        return all;
    }

    private static void Describe(int process, StringBuilder text)
    {
        try
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"process {process}: {File.ReadAllText($"/proc/{process}/cmdline").Replace('\0', ' ')}");
            foreach (var folder in Directory.GetDirectories($"/proc/{process}/task"))
            {
                var thread = int.Parse(Path.GetFileName(folder), CultureInfo.InvariantCulture);
                if (Stat(process, thread) is { } stat)
                    text.AppendLine(CultureInfo.InvariantCulture, $"  {File.ReadAllText(folder + "/comm").Trim()}: {stat[0]}, {stat[11]} ticks in user mode and {stat[12]} in the kernel, waits in {File.ReadAllText(folder + "/wchan")}");
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // It ended meanwhile.
        }
    }

    // The fields from the state on: see proc(5).
    private static string[]? Stat(int process, int thread)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{process}/task/{thread}/stat");
            return stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
