using Yadokari.Linux;
using Yadokari.Translation.Direct;

namespace Yadokari.Translation.Tests;

public sealed class ContentionTests
{
    private const long Millisecond = 1_000_000;

    private readonly Contention _contention = new();

    [Fact]
    public void Before_direct_running_is_known_it_is_supposed_to_wait_little()
    {
        _contention.Directly(4 * Millisecond, 0);
        Assert.Equal(1, _contention.Factor);
        _contention.Translated(4 * Millisecond, 4 * Millisecond);
        Assert.Equal(1, _contention.Factor);
        _contention.Translated(996 * Millisecond, 996 * Millisecond);
        Assert.Equal(2 / 1.2, _contention.Factor, 2);
        _contention.Directly(100 * Millisecond, 100 * Millisecond);
        Assert.InRange(_contention.Factor, 1, 1.1);
    }

    [Fact]
    public void An_idle_host_is_supposed_to_make_no_difference()
    {
        _contention.Translated(1000 * Millisecond, 50 * Millisecond);
        Assert.Equal(1, _contention.Factor);
    }

    [Fact]
    public void What_translated_code_waits_for_counts_beside_what_direct_code_does()
    {
        _contention.Translated(100 * Millisecond, 100 * Millisecond);
        _contention.Directly(100 * Millisecond, 25 * Millisecond);
        Assert.Equal(1.6, _contention.Factor, 2);
    }

    [Fact]
    public void An_idle_host_makes_no_difference_and_a_host_that_becomes_idle_none_any_more()
    {
        _contention.Directly(100 * Millisecond, 0);
        _contention.Translated(100 * Millisecond, 90 * Millisecond);
        Assert.Equal(1.9, _contention.Factor, 2);
        for (int i = 0; i < 1000; i++)
        {
            _contention.Translated(4 * Millisecond, 0);
        }

        Assert.Equal(1, _contention.Factor, 1);
    }

    [Theory]
    [InlineData(1000, 0, 2.5)]
    [InlineData(0, 1000, 1)]
    [InlineData(-5, -5, 1)]
    public void What_is_measured_is_believed_within_bounds(long translated, long direct, double factor)
    {
        _contention.Translated(100 * Millisecond, translated * Millisecond);
        _contention.Directly(100 * Millisecond, direct * Millisecond);
        Assert.Equal(factor, _contention.Factor, 2);
    }

    [Fact]
    public void A_thread_s_statistics_grow_while_it_runs() => OwnThread.Run(() =>
    {
        using var statistics = SchedulerStatistics.OfThread();
        (long ran, _) = statistics.Read();
        Assert.SkipUnless(File.Exists("/proc/self/schedstat"), "the host's kernel keeps no scheduler statistics");
        long began = TracedProcess.ThreadTime;
        while (TracedProcess.ThreadTime - began < 50 * Millisecond)
        {
        }

        Assert.InRange(statistics.Read().Ran - ran, 10 * Millisecond, long.MaxValue);
    });

    [Fact]
    public void Of_a_process_that_is_not_there_nothing_is_known()
    {
        using var statistics = SchedulerStatistics.OfProcess(int.MaxValue);
        Assert.Equal((0L, 0L), statistics.Read());
    }
}
