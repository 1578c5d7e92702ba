using Yadokari.Translation.Direct;

namespace Yadokari.Translation.Tests;

public sealed class DirectAccountTests
{
    // A timer's period.
    private const long Tick = 4_000_000;

    // What a program that stops all the time takes directly, for each of its stops.
    private const long Busy = 10_000;
    private const long Stop = 40_000;

    private readonly DirectOutlook _outlook = new();

    [Fact]
    public void A_program_that_computes_is_taken_on_in_some_ticks()
    {
        var account = new DirectAccount(_outlook);
        Assert.False(account.Translated(Tick, 0));
        Assert.True(account.Translated(Tick, 0));
        Assert.True(account.RanDirectly(Tick, Stop));
    }

    [Fact]
    public void A_program_that_traps_all_the_time_never_is()
    {
        var account = new DirectAccount(_outlook);
        for (int i = 0; i < 10_000; i++)
        {
            Assert.False(account.Translated(Tick, 60));
        }
    }

    [Fact]
    public void Bursts_of_traps_only_delay_it()
    {
        // Compilers do that: quiet but for a tick now and then that faults in new memory.
        var account = new DirectAccount(_outlook);
        LoseDirectly(account);
        LoseDirectly(account);
        int ticks = 0;
        while (!account.Translated(Tick, ticks % 4 == 3 ? 60u : 5u))
        {
            ticks++;
        }

        Assert.InRange(ticks, 8, 30);
    }

    [Fact]
    public void One_pause_counts_for_no_more_than_some_ticks()
    {
        // Other programs may have run between two of its interrupts.
        var account = new DirectAccount(_outlook);
        LoseDirectly(account);
        LoseDirectly(account);
        Assert.False(account.Translated(1_000_000_000, 0));
    }

    [Fact]
    public void Each_failure_makes_it_harder_and_success_easier()
    {
        var account = new DirectAccount(_outlook);
        int first = TakeOn(account);
        GiveBack(account);
        int second = TakeOn(account);
        GiveBack(account);
        int third = TakeOn(account);
        Assert.True(first < second && second < third);
        for (int i = 0; i < 10; i++)
        {
            Assert.True(account.RanDirectly(Tick, Stop));
        }

        GiveBack(account);
        Assert.InRange(TakeOn(account), first, second);
    }

    [Fact]
    public void A_program_lives_on_what_it_gained()
    {
        var account = new DirectAccount(_outlook);
        TakeOn(account);
        int poor = GiveBack(account);
        TakeOn(account);
        Assert.True(account.RanDirectly(100 * Tick, 0));
        Assert.InRange(GiveBack(account), poor + 1, (2 * poor) + 1);
    }

    [Fact]
    public void New_programs_are_taken_to_be_like_those_before()
    {
        int first = TakeOn(new DirectAccount(_outlook));
        for (int i = 0; i < 20; i++)
        {
            LoseDirectly(new DirectAccount(_outlook));
        }

        int later = TakeOn(new DirectAccount(_outlook));
        Assert.InRange(later, first + 1, 10);
        for (int i = 0; i < 20; i++)
        {
            var good = new DirectAccount(_outlook);
            TakeOn(good);
            good.RanDirectly(Tick, Stop);
        }

        Assert.Equal(first, TakeOn(new DirectAccount(_outlook)));
    }

    [Fact]
    public void A_program_that_only_seems_quiet_hardly_loses()
    {
        var account = new DirectAccount(_outlook);
        long all = 0;
        long lost = 0;
        while (all < 60_000_000_000)
        {
            if (account.Direct)
            {
                // Translated code takes four times as long, and no stops.
                lost += 32 * (Busy + Stop - (4 * Busy));
                all += 32 * (Busy + Stop);
                account.RanDirectly(32 * Busy, 32 * Stop);
            }
            else
            {
                all += Tick;
                account.Translated(Tick, 0);
            }
        }

        Assert.InRange(lost, 1, all / 20);
    }

    private static void LoseDirectly(DirectAccount account)
    {
        TakeOn(account);
        GiveBack(account);
    }

    // Ticks until it is to run directly.
    private static int TakeOn(DirectAccount account)
    {
        int ticks = 1;
        while (!account.Translated(Tick, 0))
        {
            ticks++;
        }

        return ticks;
    }

    // Stops until it is not any more.
    private static int GiveBack(DirectAccount account)
    {
        int stops = 1;
        while (account.RanDirectly(Busy, Stop))
        {
            stops++;
        }

        return stops;
    }
}
