using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using System.Text;

namespace Yadokari.Translation.Tests.Goldens;

/// <summary>
/// The host code of typical instructions, pinned in <c>goldens.txt</c> beside this file, so that a change of the translator shows as a
/// diff. <c>YADOKARI_UPDATE_GOLDENS=1</c> writes the file anew.
/// </summary>
public sealed class GoldenTests
{
    [Fact]
    public void Host_code_is_what_it_was()
    {
        Assert.SkipUnless(Bmi2.X64.IsSupported && Avx2.IsSupported, "The pinned code is that for hosts with BMI2 and AVX2.");
        using var listing = new GoldenListing();
        string now = listing.Write();
        string path = PathBeside("goldens.txt");
        if (Environment.GetEnvironmentVariable("YADOKARI_UPDATE_GOLDENS") == "1")
        {
            File.WriteAllText(path, now);
            return;
        }

        string pinned = File.ReadAllText(path).ReplaceLineEndings("\n");
        Assert.True(pinned == now, pinned == now ? "" : Difference(pinned, now));
    }

    private static string PathBeside(string name, [CallerFilePath] string source = "") => Path.Combine(Path.GetDirectoryName(source)!, name);

    // Case by case: those that differ, line by line by their longest common subsequence.
    private static string Difference(string pinned, string now)
    {
        Dictionary<string, string[]> before = Split(pinned);
        Dictionary<string, string[]> after = Split(now);
        var text = new StringBuilder("Host code differs from goldens.txt; YADOKARI_UPDATE_GOLDENS=1 accepts it.\n");
        foreach (string name in before.Keys.Union(after.Keys))
        {
            string[] old = before.GetValueOrDefault(name, []);
            string[] fresh = after.GetValueOrDefault(name, []);
            if (!old.SequenceEqual(fresh))
            {
                text.Append(name).Append('\n');
                AppendDifference(text, old, fresh);
            }
        }

        return text.ToString();
    }

    private static Dictionary<string, string[]> Split(string text) => text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries)
        .Select(part => part.Split('\n'))
        .ToDictionary(lines => lines[0][..lines[0].LastIndexOf(':')], lines => lines);

    private static void AppendDifference(StringBuilder text, string[] old, string[] fresh)
    {
        int[,] common = new int[old.Length + 1, fresh.Length + 1];
        for (int i = old.Length - 1; i >= 0; i--)
        {
            for (int j = fresh.Length - 1; j >= 0; j--)
            {
                common[i, j] = old[i] == fresh[j] ? common[i + 1, j + 1] + 1 : Math.Max(common[i + 1, j], common[i, j + 1]);
            }
        }

        for (int i = 0, j = 0; i < old.Length || j < fresh.Length;)
        {
            if (i < old.Length && j < fresh.Length && old[i] == fresh[j])
            {
                text.Append("    ").Append(old[i++]).Append('\n');
                j++;
            }
            else if (j == fresh.Length || (i < old.Length && common[i + 1, j] >= common[i, j + 1]))
            {
                text.Append("  - ").Append(old[i++]).Append('\n');
            }
            else
            {
                text.Append("  + ").Append(fresh[j++]).Append('\n');
            }
        }
    }
}
