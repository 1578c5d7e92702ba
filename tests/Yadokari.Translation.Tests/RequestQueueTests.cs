using Yadokari.Translation.Memory;

namespace Yadokari.Translation.Tests;

public sealed class RequestQueueTests
{
    private readonly RequestQueue _queue = new();

    [Fact]
    public void A_request_to_a_vcpu_inside_is_waited_for_until_it_is_completed()
    {
        _queue.Enter();
        long first = _queue.Post(new Request(RequestKind.DropCode, 0x1234, 4));
        long second = _queue.Post(new Request(RequestKind.Park, 0, 0));
        Assert.True(first != 0 && second != 0);

        Assert.True(_queue.TryTake(out Request request));
        Assert.Equal(new Request(RequestKind.DropCode, 0x1234, 4), request);
        Assert.False(_queue.IsCompleted(first));
        _queue.Complete();
        Assert.Equal((true, false), (_queue.IsCompleted(first), _queue.IsCompleted(second)));

        Assert.True(_queue.TryTake(out request));
        Assert.Equal(RequestKind.Park, request.Kind);
        _queue.Complete();
        Assert.Equal((true, false), (_queue.IsCompleted(second), _queue.TryTake(out _)));
    }

    [Fact]
    public void Nobody_waits_for_a_vcpu_that_leaves()
    {
        _queue.Enter();
        long number = _queue.Post(new Request(RequestKind.StopAllWriting, 0, 0));
        Assert.False(_queue.IsCompleted(number));
        _queue.Leave();
        Assert.True(_queue.IsCompleted(number));
        Assert.Equal(1, _queue.Count);
    }

    [Fact]
    public void A_vcpu_outside_keeps_each_page_once_and_no_request_to_park()
    {
        Assert.Equal(0, _queue.Post(new Request(RequestKind.DropCode, 0x5008, 4)));
        Assert.Equal(0, _queue.Post(new Request(RequestKind.DropCode, 0x5FF0, 8)));
        Assert.Equal(0, _queue.Post(new Request(RequestKind.Park, 0, 0)));
        Assert.Equal(1, _queue.Count);

        _queue.Enter();
        Assert.True(_queue.TryTake(out Request request));
        Assert.Equal(new Request(RequestKind.DropCode, 0x5000, 4096), request);
        _queue.Complete();

        // Once it is taken, it may be asked for again.
        _queue.Leave();
        _queue.Post(new Request(RequestKind.DropCode, 0x5008, 4));
        Assert.Equal(1, _queue.Count);
    }
}
