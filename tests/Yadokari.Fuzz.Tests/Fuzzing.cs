using System.Diagnostics;
using System.Globalization;

namespace Yadokari.Fuzz.Tests;

/// <summary>
/// Lives a target through one random life after another until its time is up. Each life is made from one seed, which is told if it ends badly:
/// an exception on any thread, a life that does not end, or memory, threads or files that stay behind.
/// <list type="bullet">
/// <item><c>YADO_FUZZ_SECONDS</c>: time for each target.</item>
/// <item><c>YADO_FUZZ_SEED</c>: this life alone, over and over.</item>
/// <item><c>YADO_FUZZ_TARGET</c>: the devices of which this is part of the name.</item>
/// </list>
/// </summary>
internal static class Fuzzing
{
    private const double DefaultSeconds = 18;
    private const int WarmUp = 20; // Lives until what is made once has been made.
    private const long MostMemory = 64 << 20;
    private const int MostThreads = 40;
    private const int MostFiles = 64;
    private static readonly TimeSpan s_longestLife = TimeSpan.FromMinutes(5);

    private static string s_now = "";

    // A worker's exception ends the process, as it would end a machine.
    static Fuzzing() => AppDomain.CurrentDomain.UnhandledException += (_, _) => Console.Error.WriteLine($"An exception of another thread, while {s_now}");

    /// <summary>Lives until the time is up.</summary>
    /// <param name="name">The target's.</param>
    /// <param name="life">One life: gets its random numbers, where to count what it reached, and a folder of its own.</param>
    /// <param name="mustReach">What has to be reached at least once by all lives together.</param>
    public static void Run(string name, Action<Random, Tally, string> life, IReadOnlyList<string> mustReach)
    {
        int? only = Setting("YADO_FUZZ_SEED") is { } seed ? (int)seed : null;
        TimeSpan time = TimeSpan.FromSeconds(Setting("YADO_FUZZ_SECONDS") ?? DefaultSeconds);
        var tally = new Tally();
        using var watchdog = new Timer(_ => Environment.FailFast($"Nothing ends, while {s_now}"));
        string note = Path.Combine(Room, $"yadokari-fuzz-{Environment.ProcessId}.seed");
        long start = Stopwatch.GetTimestamp();
        int next = only ?? (Environment.GetEnvironmentVariable("CI") is null ? Random.Shared.Next() : 1); // A change is judged by the same lives as the last.
        Footprint? before = null;
        long lives = 0;
        for (; Stopwatch.GetElapsedTime(start) < time || lives <= WarmUp; lives++, next = only ?? next + 1)
        {
            if (lives == WarmUp)
            {
                before = Footprint.Take();
            }

            s_now = $"fuzzing '{name}'; repeat it by YADO_FUZZ_SEED={next}";
            File.WriteAllText(note, s_now); // If the host ends the process, nobody else tells.
            watchdog.Change(s_longestLife, Timeout.InfiniteTimeSpan);
            string folder = Directory.CreateDirectory(Path.Combine(Room, $"yadokari-fuzz-{Environment.ProcessId}")).FullName;
            try
            {
                life(new Random(next), tally, folder);
            }
            catch (Exception error)
            {
                throw new InvalidOperationException($"Failed {s_now} (life {lives})", error);
            }
            finally
            {
                Remove(folder);
                File.Delete(note);
            }
        }

        watchdog.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        Footprint after = Footprint.Take();
        TestContext.Current.TestOutputHelper?.WriteLine($"{name}: {lives} lives, {lives / Stopwatch.GetElapsedTime(start).TotalSeconds:f0} a second; {tally}; {before} then {after}");
        Assert.True(after.Memory - before!.Memory < MostMemory && after.Threads - before.Threads < MostThreads && after.Files - before.Files < MostFiles,
            $"'{name}' leaves more and more behind: {before} after {WarmUp} lives, {after} after {lives}");
        if (only is null)
        {
            Assert.Equal([], mustReach.Where(what => tally[what] == 0));
        }
    }

    // In memory where the host has such a place: most of the time would go into waiting for its disk.
    private static string Room => Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath();

    // A guest may have left names that are no text, and folders that may not be looked into.
    private static void Remove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            using Process shell = Process.Start("sh", ["-c", "chmod -R u+rwx \"$0\"; rm -rf \"$0\"", folder]);
            shell.WaitForExit();
        }
    }

    private static double? Setting(string name) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } text ? double.Parse(text, CultureInfo.InvariantCulture) : null;

    private sealed record Footprint(long Memory, int Threads, int Files)
    {
        public static Footprint Take()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            return new Footprint(GC.GetTotalMemory(forceFullCollection: true), Directory.GetDirectories("/proc/self/task").Length, Directory.GetFiles("/proc/self/fd").Length);
        }

        public override string ToString() => $"{Memory >> 10} KiB, {Threads} threads, {Files} files";
    }
}

/// <summary>Counts what was reached.</summary>
internal sealed class Tally
{
    private readonly SortedDictionary<string, long> _counts = [];

    public long this[string what] => _counts.GetValueOrDefault(what);

    public void Add(string what) => _counts[what] = this[what] + 1;

    public override string ToString() => string.Join(", ", _counts.Select(count => $"{count.Key} {count.Value}"));
}
