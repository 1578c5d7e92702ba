using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

public sealed class PendingEventsTests
{
    private readonly PendingEvents _events = new();

    [Fact]
    public void Of_many_nmis_at_once_two_are_taken_and_one_waits_while_one_is_handled()
    {
        for (int i = 0; i < 5; i++)
        {
            _events.RaiseNmi();
        }

        _events.TakeNmi();
        Assert.False(_events.HasNmi);
        _events.RaiseNmi();
        _events.UnblockNmis();
        Assert.True(_events.HasNmi);
        _events.TakeNmi();
        _events.UnblockNmis();
        Assert.False(_events.HasNmi);
    }

    [Fact]
    public void Breakpoints_held_back_are_taken_once_and_lost_if_something_is_delivered_before()
    {
        _events.HoldBreakpoints(5, _events.Deliveries);
        Assert.Equal(5ul, _events.TakeBreakpoints(_events.Deliveries));
        Assert.Equal(0ul, _events.TakeBreakpoints(_events.Deliveries));

        _events.HoldBreakpoints(5, _events.Deliveries);
        _events.NoteDelivery();
        Assert.Equal(0ul, _events.TakeBreakpoints(_events.Deliveries));
    }

    [Fact]
    public void What_waits_is_the_same_after_save_and_load()
    {
        _events.RaiseNmi();
        _events.TakeNmi();
        _events.RaiseNmi();
        _events.InterruptShadow = true;
        _events.NoteDelivery();
        _events.HoldBreakpoints(2, _events.Deliveries);
        var state = new X86State { PendingEvent = new PendingEvent(14, false, 2) };
        PendingEvent? injected = state.PendingEvent;
        _events.Save(state);
        Assert.Null(state.PendingEvent);
        state.PendingEvent = injected;

        var other = new PendingEvents();
        other.Load(state);
        Assert.Equal((true, false, 2ul), (other.InterruptShadow, other.HasNmi, other.TakeBreakpoints(other.Deliveries)));
        other.UnblockNmis();
        Assert.True(other.HasNmi);
        Assert.True(other.TryTakeInjected(out PendingEvent taken));
        Assert.Equal(injected, taken);
        Assert.False(other.HasInjected || other.TryTakeInjected(out _));
    }
}
