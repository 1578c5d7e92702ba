using Yadokari.Translation.Direct;
using static Yadokari.Translation.Direct.Lingering;

namespace Yadokari.Translation.Tests;

public sealed class LingeringTests
{
    private readonly Lingering _lingering = new();
    private uint _runs;

    [Fact]
    public void Code_that_was_in_no_such_page_runs_directly_at_once() => Assert.Equal(Answer.Leave, _lingering.Next(there: false, 0));

    [Fact]
    public void After_such_a_page_it_stays_translated_for_some_polls()
    {
        Assert.Equal(Answer.Stay, _lingering.Next(there: true, ++_runs));
        int polls = 0;
        while (_lingering.Next(there: false, _runs) == Answer.StayForPoll)
        {
            polls++;
        }

        Assert.InRange(polls, 8, 100);
        Assert.Equal(Answer.Leave, _lingering.Next(there: false, _runs));
    }

    [Fact]
    public void A_run_of_such_a_page_meanwhile_begins_them_anew()
    {
        _lingering.Next(there: true, ++_runs);
        for (int i = 0; i < 200; i++)
        {
            Assert.Equal(Answer.StayForPoll, _lingering.Next(there: false, i % 10 == 0 ? ++_runs : _runs));
        }
    }

    [Fact]
    public void One_that_is_always_in_and_out_pauses_each_time_for_twice_as_many_interrupts()
    {
        int[] pauses = [.. Enumerable.Range(0, 8).Select(_ => Pause())];
        Assert.Equal([1, 2, 4, 8, 16, 32, 64, 64], pauses);
    }

    [Fact]
    public void After_a_pause_it_is_tried_directly_though_its_own_code_was_counted()
    {
        // The page may hold other code by now, of which only a try can tell.
        Pause();
        Assert.Equal(Answer.Leave, _lingering.Next(there: false, _runs));
        Assert.Equal(1, Pause());
    }

    // Is in and out until it is left alone, and then until it is not any more. Returns for how many interrupts.
    private int Pause()
    {
        int returns = 0;
        while (_lingering.Next(there: returns % 2 == 0, ++_runs) != Answer.Pause)
        {
            Assert.InRange(++returns, 0, 2000);
        }

        int interrupts = 1;
        while (!_lingering.Interrupted(++_runs))
        {
            Assert.Equal(Answer.Pause, _lingering.Next(there: true, ++_runs));
            interrupts++;
        }

        return interrupts;
    }
}
