using Yadokari.Core.Networks;

namespace Yadokari.Networks.Tests;

public sealed class FrameQueueTests
{
    [Fact]
    public void Frames_come_out_whole_and_in_order_while_others_go_in()
    {
        const int frames = 50_000;
        var queue = new FrameQueue();
        var lengths = new Random(1);
        int[] all = [.. Enumerable.Range(0, frames).Select(_ => lengths.Next(20) == 0 ? lengths.Next(1, INetwork.MaxFrameSize) : lengths.Next(1, 1600))];
        var producer = new Thread(() =>
        {
            for (int i = 0; i < frames; i++)
            {
                // More room than is used in the end, as a device that does not know what will come.
                while (!queue.TryReserve(Math.Min(all[i] + (i % 7), INetwork.MaxFrameSize), out Span<byte> _))
                {
                    Thread.Yield();
                }

                queue.TryReserve(all[i], out Span<byte> frame);
                frame.Fill((byte)i);
                queue.Put(all[i], new FrameOffload(0, 0, (ushort)i, 0, 0, 0));
            }
        });
        producer.Start();
        for (int i = 0; i < frames; i++)
        {
            ReadOnlySpan<byte> frame;
            FrameOffload offload;
            while (!queue.TryPeek(out frame, out offload))
            {
                Thread.Yield();
            }

            Assert.Equal((all[i], (ushort)i), (frame.Length, offload.HeaderLength));
            Assert.Equal(-1, frame.IndexOfAnyExcept((byte)i));
            queue.Release();
        }

        producer.Join();
        Assert.False(queue.TryPeek(out _, out _));
        Assert.Equal(0, queue.Used);
    }

    [Fact]
    public void A_full_queue_takes_nothing_until_a_frame_leaves()
    {
        var queue = new FrameQueue();
        int count = 0;
        while (queue.TryReserve(60_000, out _))
        {
            queue.Put(60_000, default);
            count++;
        }

        Assert.InRange(count, 10, 20);
        queue.TryPeek(out _, out _);
        queue.Release();
        Assert.True(queue.TryReserve(50_000, out _));
        queue.Drain();
        Assert.False(queue.TryPeek(out _, out _));
    }
}
