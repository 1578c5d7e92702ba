namespace Yadokari.Translation.Tests;

/// <summary>What a counter lacks after the host's sleep, by a processor whose counter is 30 parts in a million off what was measured.</summary>
public sealed class TscGapTests
{
    private const double Hz = 2_000_000_000;
    private const double Real = Hz * 1.00003;

    private double _tsc = 5e12;
    private double _time = 1e12;

    [Fact]
    public void A_counter_that_went_on_lacks_nothing()
    {
        TscGap gap = Started();
        Go(36_000, 36_000);
        Assert.Equal(0ul, gap.Take());
    }

    [Fact]
    public void A_counter_that_stood_still_lacks_the_sleep()
    {
        TscGap gap = Started();
        Go(100, 0);
        Assert.InRange(gap.Take() / Real, 99.999, 100.001);

        // From then on as before.
        Go(50, 50);
        gap.Look();
        Go(7, 1);
        Assert.InRange(gap.Take() / Real, 5.999, 6.001);
    }

    [Fact]
    public void A_counter_that_began_anew_lacks_what_it_had_and_the_sleep()
    {
        TscGap gap = Started();
        double before = _tsc;
        Go(100, 0);
        _tsc = 12_345;
        Assert.InRange(gap.Take() / Real, ((before - _tsc) / Real) + 99.999, ((before - _tsc) / Real) + 100.001);
    }

    private TscGap Started()
    {
        var gap = new TscGap(() => (ulong)_tsc, () => (long)_time, (ulong)Hz);
        for (int minute = 0; minute < 1000; minute++)
        {
            Go(60, 60);
            gap.Look();
        }

        return gap;
    }

    private void Go(double seconds, double counted)
    {
        _time += seconds * 1e9;
        _tsc += counted * Real;
    }
}
