using Yadokari.Translation.Direct;

namespace Yadokari.Translation.Tests;

public sealed class DirectAccountTests
{
    // A timer's period.
    private const long Tick = 4_000_000;

    // Stops between two looks, as many as the engine takes.
    private const int Window = 32;

    // What a program that stops all the time takes directly, for each of its stops; and what the stop takes of monitor and process.
    private const long Busy = 10_000;
    private const long Monitor = 30_000;
    private const long Own = 10_000;

    private static ulong s_page = 0x100;

    private readonly DirectOutlook _outlook = new();

    [Fact]
    public void A_program_that_computes_is_taken_on_in_some_ticks()
    {
        var account = Account(_outlook);
        Assert.InRange(TakeOn(account), 2, 8);
        Assert.True(Compute(account));
    }

    [Fact]
    public void A_program_that_traps_all_the_time_never_is()
    {
        var account = Account(_outlook);
        for (int i = 0; i < 10_000; i++)
        {
            Assert.False(account.Translated(Tick, 60, 0, alone: true));
        }
    }

    [Fact]
    public void Bursts_of_traps_only_delay_it()
    {
        // Compilers do that: quiet but for a tick now and then that faults in new memory.
        var account = Account(_outlook);
        LoseDirectly(account);
        int ticks = 0;
        while (!account.Translated(Tick, ticks % 8 == 7 ? 60u : 2u, 0, alone: true))
        {
            ticks++;
        }

        Assert.InRange(ticks, 13, 120);
    }

    [Fact]
    public void One_pause_counts_for_no_more_than_some_ticks()
    {
        // Other programs may have run between two of its interrupts.
        var account = Account(_outlook);
        LoseDirectly(account);
        Assert.False(account.Translated(1_000_000_000, 0, 0, alone: true));
    }

    [Fact]
    public void Each_failure_makes_it_harder_and_success_easier()
    {
        var account = Account(_outlook);
        int first = TakeOn(account);
        GiveBack(account);
        int second = TakeOn(account);
        GiveBack(account);
        int third = TakeOn(account);
        Assert.True(first * 3 < second && second * 3 < third);
        for (int i = 0; i < 10; i++)
        {
            Assert.True(Compute(account));
        }

        GiveBack(account);
        Assert.InRange(TakeOn(account), first, second);
    }

    [Fact]
    public void A_program_lives_on_what_it_gained()
    {
        var account = Account(_outlook);
        TakeOn(account);
        int poor = GiveBack(account);
        TakeOn(account);
        Assert.True(Ran(account, 100 * Tick, 1, 0));
        Assert.InRange(GiveBack(account), poor + 1, (2 * poor) + 1);
    }

    [Fact]
    public void New_programs_are_taken_to_be_like_those_before()
    {
        int first = TakeOn(Account(_outlook));
        for (int i = 0; i < 20; i++)
        {
            LoseDirectly(Account(_outlook));
        }

        int later = TakeOn(Account(_outlook));
        Assert.InRange(later, first + 1, 4 * first);
        for (int i = 0; i < 20; i++)
        {
            var good = Account(_outlook);
            TakeOn(good);
            Compute(good);
        }

        Assert.Equal(first, TakeOn(Account(_outlook)));
    }

    [Fact]
    public void A_program_that_only_seems_quiet_hardly_loses()
    {
        var account = Account(_outlook);
        long all = 0;
        long lost = 0;
        while (all < 60_000_000_000)
        {
            if (account.Direct)
            {
                // Translated code takes twice as long, and no stops.
                lost += Window * (Monitor + Own - Busy);
                all += Window * (Busy + Monitor + Own);
                StopAllTheTime(account);
            }
            else
            {
                all += Tick;
                account.Translated(Tick, 0, 0, alone: true);
            }
        }

        Assert.InRange(lost, 1, all / 20);
    }

    [Fact]
    public void Where_stops_are_dear_only_longer_runs_are_worth_it()
    {
        // A host that is busy, or a guest itself.
        const long Dear = 1_000_000;
        for (int i = 0; i < 50; i++)
        {
            _outlook.Stopped(Dear, Own);
        }

        var account = Account(_outlook);
        for (int i = 0; i < 1000; i++)
        {
            Assert.False(account.Translated(Tick, 3, 0, alone: true));
        }

        int ticks = TakeOn(account);
        Assert.InRange(ticks, 50, 500);
        Assert.True(Ran(account, Window * 10 * Tick, Window, Window * Dear));
        int windows = 1;
        while (Ran(account, Window * Tick / 20, Window, Window * Dear))
        {
            windows++;
        }

        Assert.InRange(windows, 1, 20);
    }

    [Fact]
    public void What_stops_cost_follows_what_they_cost_now()
    {
        for (int i = 0; i < 50; i++)
        {
            _outlook.Stopped(2_000_000, Own);
        }

        Assert.InRange(_outlook.StopCost, 1_500_000, 3_000_000);
        for (int i = 0; i < 50; i++)
        {
            _outlook.Stopped(20_000, 4_000);
        }

        Assert.InRange(_outlook.StopCost, 20_000, 60_000);
    }

    [Fact]
    public void One_stop_that_the_hosts_scheduler_stretches_counts_little()
    {
        Assert.True(_outlook.StopCost < 200_000);
        _outlook.Stopped(10_000_000_000, Own);
        Assert.True(_outlook.StopCost < 1_000_000);
    }

    [Fact]
    public void A_window_of_nothing_but_stops_is_a_loss_whatever_the_clock_says()
    {
        // What stops take of the process's own time is no progress.
        var account = Account(_outlook);
        TakeOn(account);
        int windows = 1;
        while (Ran(account, Window * 28_000, Window, Window * Monitor))
        {
            windows++;
        }

        Assert.InRange(windows, 1, 12);
    }

    [Theory]
    [InlineData(1_000, 300, 1_500)]
    [InlineData(20_000, 1, 30_000)]
    [InlineData(2_000, 4, 3_000)]
    public void Coming_to_code_that_must_be_translated_again_and_again_ends_it(long own, uint runs, long translated)
    {
        // It needs as much processor time again for each stop.
        var account = Account(_outlook);
        int before = TakeOn(account);
        Assert.InRange(Detour(account, own, runs, translated, 1000), DirectAccount.MostDetours, 2 * DirectAccount.MostDetours);
        Assert.False(account.Taken);
        Assert.True(TakeOn(account) > 3 * before);
    }

    [Fact]
    public void Coming_there_in_bursts_does_not_if_it_comes_further_all_the_same()
    {
        // Stops that cost as much as one without hardware support are still less than its code takes translated.
        var account = Account(_outlook);
        TakeOn(account);
        Assert.Equal(5000, Detour(account, 30_000, 50, 150_000, 5000));
        Assert.True(account.Direct);

        // Then it does something else.
        Assert.InRange(Detour(account, 2_000, 50, 5_000, 20_000), 1, 5000);
        Assert.False(account.Taken);
    }

    [Fact]
    public void Coming_there_now_and_then_makes_no_sample_necessary()
    {
        var account = Account(_outlook);
        TakeOn(account);
        for (int i = 0; i < 1000; i++)
        {
            account.Detoured(100 * _outlook.StopCost);
            account.Detoured(Own);
            Assert.False(account.IsDetouring);
        }
    }

    [Theory]
    [InlineData(1.1)]
    [InlineData(1.5)]
    [InlineData(2.5)]
    [InlineData(4)]
    [InlineData(6)]
    public void No_program_ends_more_than_a_fifth_behind_the_better_way(double gain)
    {
        foreach (int microseconds in (int[])[1, 10, 30, 60, 100, 200, 500, 2_000, 20_000])
        {
            var program = new Modelled(Account(new DirectOutlook()), gain, microseconds * 1000);
            program.Work(4_000_000_000);
            Assert.True(program.Spent < 1.2 * program.Better, $"{microseconds} us: {program.Spent / 1_000_000} ms, the better way {program.Better / 1_000_000} ms");
        }
    }

    [Theory]
    [InlineData(4, 100_000, 2_000)]
    [InlineData(1.2, 1_000_000, 10_000)]
    [InlineData(4, 5_000_000, 60_000)]
    public void Nor_one_that_does_now_one_thing_and_now_another(double gain, int rarely, int often)
    {
        var program = new Modelled(Account(_outlook), gain, rarely);
        for (int i = 0; i < 10; i++)
        {
            program.Between = rarely;
            program.Work(1_000_000_000);
            program.Between = often;
            program.Work(1_000_000_000);
        }

        Assert.True(program.Spent < 1.2 * program.Better, $"{program.Spent / 1_000_000} ms, the better way {program.Better / 1_000_000} ms");
    }

    [Theory]
    [InlineData(4, 5)]
    [InlineData(1.2, 50)]
    public void One_that_loses_by_its_first_measures_runs_directly_for_no_longer(double gain, int microseconds)
    {
        // As short programs of a kind do, one after another: what their pages took to be shown comes on top.
        var account = Account(_outlook);
        TakeOn(account);
        var program = new Modelled(account, gain, microseconds * 1000);
        double before = program.Spent;
        while (account.Taken)
        {
            program.Work(microseconds * 1000);
        }

        Assert.InRange(program.Spent - before, 1, 45_000_000);
        Assert.NotNull(account.Gain);
    }

    [Fact]
    public void Where_translated_code_waits_for_others_running_directly_is_worth_more()
    {
        // Its stops cost a tenth more than translation takes; translated it waits as long as it runs.
        var idle = new Modelled(Account(new DirectOutlook()), 2, 50_000);
        idle.Work(2_000_000_000);
        Assert.False(idle.Account.Direct);
        _outlook.Contention.Translated(100_000_000, 100_000_000);
        _outlook.Contention.Directly(100_000_000, 0);
        var busy = new Modelled(Account(_outlook), 2, 50_000);
        busy.Work(2_000_000_000);
        Assert.True(busy.Account.Direct);
    }

    [Fact]
    public void Where_translated_code_waits_for_others_samples_are_rarer_and_shorter()
    {
        // It stops seldom, so that little is to be learned by translating it for a while.
        var idle = new Modelled(Account(new DirectOutlook()), 6, 200_000);
        idle.Work(300_000_000);
        _outlook.Contention.Translated(100_000_000, 100_000_000);
        _outlook.Contention.Directly(100_000_000, 0);
        var busy = new Modelled(Account(_outlook), 6, 200_000);
        busy.Work(300_000_000);
        Assert.True(idle.Account.Direct && busy.Account.Direct);
        Assert.InRange(busy.Sampled, Tick, idle.Sampled / 2);
    }

    [Fact]
    public void A_program_begins_where_another_with_the_same_code_ended()
    {
        var first = new DirectAccount(_outlook, 0x7000);
        int before = TakeOn(first);
        var program = new Modelled(first, 1.1, 20_000);
        program.Work(100_000_000);
        Assert.False(first.Direct);
        Assert.InRange(first.Gain!.Value, 1, 1.5);
        var second = new DirectAccount(_outlook, 0x7000);
        Assert.Equal(first.Gain, second.Gain);
        Assert.True(TakeOn(second) > 3 * before);
        _outlook.Forget(0x7000);
        Assert.Null(new DirectAccount(_outlook, 0x7000).Gain);
    }

    // Of a program whose code no other has.
    private static DirectAccount Account(DirectOutlook outlook) => new(outlook, ++s_page << 12);

    private static bool Ran(DirectAccount account, long time, int stops, long cost, long translated = 0, long progress = 0) => account.RanDirectly(
        new DirectWindow { Time = time, Stops = stops, Cost = cost, Translated = translated, Progress = progress, Alone = true });

    // Comes to code that must be translated so many times, as long as it runs directly. Between, its own code and what of it must be translated
    // take so long, and so long all in all if all is translated. Returns how many times it stopped.
    private static int Detour(DirectAccount account, long own, uint runs, long translated, int times)
    {
        int stops = 0;
        for (int i = 0, window = 0; i < times && account.Taken; i++)
        {
            stops++;
            window++;
            account.Detoured(own + Own);
            if (window < Window && !account.IsDetouring)
            {
                continue;
            }

            account.RanDirectly(new DirectWindow
            {
                Time = window * (own + Own),
                Stops = window,
                Cost = window * Monitor,
                Translated = window * 500,
                Progress = window * runs,
                Alone = true,
            });
            window = 0;
            while (account.Taken && !account.Direct)
            {
                account.Translated(Tick, 0, (uint)(Tick * runs / translated), alone: true);
            }
        }

        return stops;
    }

    private static bool Compute(DirectAccount account) => Ran(account, Window * Tick, Window, Window * Monitor);

    private static bool StopAllTheTime(DirectAccount account) => Ran(account, Window * (Busy + Own), Window, Window * Monitor);

    private static void LoseDirectly(DirectAccount account)
    {
        TakeOn(account);
        GiveBack(account);
    }

    // Ticks until it is to run directly.
    private static int TakeOn(DirectAccount account)
    {
        int ticks = 1;
        while (!account.Translated(Tick, 0, 0, alone: true))
        {
            ticks++;
        }

        return ticks;
    }

    // Windows until it is not any more.
    private static int GiveBack(DirectAccount account)
    {
        int stops = 1;
        while (StopAllTheTime(account))
        {
            stops++;
        }

        return stops;
    }

    // A program that traps after every so many nanoseconds of its own code, of which translation takes so many times as many.
    private sealed class Modelled(DirectAccount account, double gain, long between)
    {
        private const long Kernel = 8_000;
        private const long ProcessStop = 35_000;
        private const long MonitorStop = 25_000;
        private double _traps;
        private bool _wasDirect;

        public DirectAccount Account => account;

        public long Between { get; set; } = between;

        public double Spent { get; private set; }

        // Of that, translated to be compared.
        public long Sampled { get; private set; }

        // What the better way would have taken for each piece of work.
        public double Better { get; private set; }

        // Does so many nanoseconds of its own code.
        public void Work(long amount)
        {
            double traps = (double)amount / Between;
            Better += traps * (Kernel + Math.Min(Between * gain, Between + ProcessStop + MonitorStop));
            for (double left = amount; left > 0;)
            {
                left -= account.Direct ? Directly() : Translated();
            }
        }

        private double Directly()
        {
            // At first its pages are shown.
            long cost = Window * (_wasDirect ? MonitorStop : 200_000);
            _wasDirect = true;
            Spent += (Window * (Between + ProcessStop + Kernel)) + cost;
            Ran(account, Window * (Between + ProcessStop), Window, cost, Window * Kernel, Window);
            return Window * Between;
        }

        private double Translated()
        {
            double traps = Tick / ((Between * gain) + Kernel);
            _traps += traps;
            uint whole = (uint)_traps;
            _traps -= whole;
            Spent += Tick;
            Sampled += account.Taken ? Tick : 0;
            account.Translated(Tick, whole, 0, alone: true);
            return traps * Between;
        }
    }
}
