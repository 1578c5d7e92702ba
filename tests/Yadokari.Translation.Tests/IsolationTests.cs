using System.Diagnostics;

namespace Yadokari.Translation.Tests;

/// <summary>
/// Guests of random bytes: they write everywhere, jump everywhere and take over their own tables. None may bring the monitor down, hang it
/// or touch memory that is not the guest's. All modes together execute more than a million instructions, in ring 0 and in ring 3.
/// </summary>
/// <remarks>
/// Environment variables make for a longer search: YADOKARI_ISOLATION_MINUTES is how long each mode runs, YADOKARI_ISOLATION_MODE names
/// the only mode to run, YADOKARI_ISOLATION_SEED is the number of the first machine, and YADOKARI_ISOLATION_VERBOSE tells each number.
/// </remarks>
public sealed class IsolationTests
{
    private static readonly string? s_only = Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_MODE");
    private static readonly bool s_verbose = Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_VERBOSE") != null;
    private static readonly int s_first = int.Parse(Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_SEED") ?? "1");
    private static readonly TimeSpan s_atLeast
        = TimeSpan.FromMinutes(double.Parse(Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_MINUTES") ?? "0"));

    // No machine that works takes this long on the slowest host: it only guards against hangs.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(3);

    private const int Episodes = 40;
    private const long InstructionsOfMode = 210_000;

    [Theory]
    [InlineData(WildMode.Kernel)]
    [InlineData(WildMode.User)]
    [InlineData(WildMode.Compatibility)]
    [InlineData(WildMode.Protected)]
    [InlineData(WildMode.Real)]
    public void Random_code_stays_inside(WildMode mode)
    {
        Assert.SkipWhen(s_only is not null && s_only != mode.ToString(), "YADOKARI_ISOLATION_MODE names another.");
        var time = Stopwatch.StartNew();
        long instructions = 0;
        for (int seed = s_first; instructions < InstructionsOfMode || time.Elapsed < s_atLeast; seed++)
        {
            instructions += RunMachine(mode, seed);
            if (s_verbose)
            {
                Console.Error.WriteLine($"{mode} seed {seed}: {instructions} instructions in {time.Elapsed.TotalSeconds:F1} s");
            }
        }
    }

    // On a thread of its own, as a vCPU has it. Returns how many instructions were executed.
    private static long RunMachine(WildMode mode, int seed)
    {
        long instructions = 0;
        int episode = 0;
        string failure = "";
        var thread = new Thread(() =>
        {
            try
            {
                using var guest = new WildGuest(mode, seed);
                try
                {
                    for (; episode < Episodes; episode++)
                    {
                        guest.RunEpisode();
                        guest.CheckCanaries();
                    }
                }
                catch (Exception thrown)
                {
                    failure = $"{guest.Describe()}: {thrown}";
                }

                instructions = guest.Executed;
            }
            catch (Exception thrown)
            {
                failure = thrown.ToString();
            }
        })
        {
            IsBackground = true,
            Name = $"{mode} {seed}",
        };
        thread.Start();
        Assert.True(thread.Join(s_patience), $"{mode}, seed {seed}, episode {episode}: hangs in spite of Kick");
        Assert.True(failure == "", $"{mode}, seed {seed}, episode {episode}: {failure}");
        return instructions;
    }
}
