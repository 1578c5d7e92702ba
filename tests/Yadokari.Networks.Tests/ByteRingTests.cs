using Yadokari.Networks.User;

namespace Yadokari.Networks.Tests;

public sealed class ByteRingTests
{
    [Fact]
    public void What_is_empty_holds_no_memory()
    {
        const int most = 1 << 20;
        var budget = new ByteBudget(most);
        using var ring = new ByteRing(most, budget);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(most, ring.Free);
            Assert.Equal(most, ring.Put(new byte[most + 1]));
            Assert.Equal(ByteRing.MinCapacity, budget.Left);
            ring.Take(most - 1);
            Assert.Equal(ByteRing.MinCapacity, budget.Left);
            ring.Take(1);
            Assert.Equal(most, budget.Left);
        }

        // Neither does one that was asked for room in vain.
        Assert.False(ring.WritableSpan().IsEmpty);
        Assert.True(budget.Left < most);
        ring.Commit(0);
        Assert.Equal(most, budget.Left);
    }

    [Fact]
    public void A_busy_ring_begins_as_large_as_it_was_and_a_quiet_one_smaller_each_time()
    {
        var budget = new ByteBudget(1 << 20);
        using var ring = new ByteRing(1 << 18, budget);
        ring.Put(new byte[1 << 18]);
        ring.Take(1 << 18);
        int expected = 1 << 18;
        while (expected > ByteRing.MinCapacity)
        {
            Assert.Equal(expected, ring.WritableSpan().Length);
            ring.Commit(1);
            ring.Take(1);
            expected = Math.Max(ByteRing.MinCapacity, expected / 4);
        }

        Assert.Equal(ByteRing.MinCapacity, ring.WritableSpan().Length);
        ring.Commit(0);
    }

    [Fact]
    public void Rings_never_hold_more_than_the_budget_and_each_goes_on()
    {
        const int most = 1 << 17;
        const int shared = 1 << 18;
        var random = new Random(5);
        var budget = new ByteBudget(shared);
        ByteRing[] rings = [.. Enumerable.Range(0, 8).Select(_ => new ByteRing(most, budget))];
        Queue<byte>[] expected = [.. rings.Select(_ => new Queue<byte>())];
        byte[] data = new byte[most];
        for (int i = 0; i < 3000; i++)
        {
            int at = random.Next(rings.Length);
            ByteRing ring = rings[at];
            if (random.Next(3) > 0)
            {
                Span<byte> piece = data.AsSpan(0, random.Next(most));
                random.NextBytes(piece);
                int free = ring.Free;
                Assert.True(free >= ByteRing.MinCapacity - ring.Count);
                int put = ring.Put(piece);
                Assert.Equal(Math.Min(free, piece.Length), put);
                foreach (byte b in piece[..put])
                {
                    expected[at].Enqueue(b);
                }
            }
            else
            {
                int count = random.Next(4) == 0 ? ring.Count : random.Next(ring.Count + 1);
                Span<byte> piece = data.AsSpan(0, count);
                ring.CopyTo(0, piece);
                foreach (byte b in piece)
                {
                    Assert.Equal(expected[at].Dequeue(), b);
                }

                ring.Take(count);
            }

            Assert.InRange(budget.Left, 0, shared);
        }

        foreach (ByteRing ring in rings)
        {
            ring.Dispose();
        }

        Assert.Equal(shared, budget.Left);
    }

    [Theory]
    [InlineData(1024, 128)]
    [InlineData(256, 32)]
    [InlineData(1 << 20, 4096 + 512 + 64)]
    public void A_network_leaves_descriptors_to_the_rest_of_the_process(long openFiles, int descriptors)
    {
        var limits = NetworkLimits.Of(openFiles);
        Assert.Equal(descriptors, limits.Connections + limits.Conversations + limits.Pings);
        Assert.True(limits is { Connections: > 0, Conversations: > 0, Pings: > 0 });
        Assert.True(limits.Bytes >= limits.Connections * TcpFlow.Reserve);
    }
}
