namespace Yadokari.Translation.Tests;

/// <summary>
/// Guests of random bytes: they write everywhere, jump everywhere and take over their own tables. None may bring the monitor down, hang it
/// or touch memory that is not the guest's.
/// </summary>
public sealed class IsolationTests
{
    // One batch is one machine; its number is the seed. YADOKARI_ISOLATION_BATCHES makes for a longer search.
    private static readonly int s_batches = int.Parse(Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_BATCHES") ?? "12");
    private static readonly string? s_only = Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_MODE");
    private static readonly int s_first = int.Parse(Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_SEED") ?? "1");

    // No batch that works takes this long on the slowest host: it only guards against hangs.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(3);

    private const int Episodes = 40;
    private const long LeastInstructions = 100_000;

    [Theory]
    [InlineData(WildMode.Kernel)]
    [InlineData(WildMode.User)]
    [InlineData(WildMode.Compatibility)]
    [InlineData(WildMode.Protected)]
    [InlineData(WildMode.Real)]
    public void RandomCodeStaysInside(WildMode mode)
    {
        Assert.SkipWhen(s_only is not null && s_only != mode.ToString(), "YADOKARI_ISOLATION_MODE names another.");
        long instructions = 0;
        for (int seed = s_first; seed < s_first + s_batches; seed++)
        {
            instructions += RunBatch(mode, seed);
        }

        Assert.True(instructions >= LeastInstructions || s_batches < 12, $"only {instructions} instructions ran");
    }

    // On a thread of its own, as a vCPU has it. Returns how many instructions ran.
    private static long RunBatch(WildMode mode, int seed)
    {
        if (Environment.GetEnvironmentVariable("YADOKARI_ISOLATION_VERBOSE") != null)
        {
            Console.Error.WriteLine($"{mode} seed {seed}");
        }

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

                instructions = guest.Instructions;
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
