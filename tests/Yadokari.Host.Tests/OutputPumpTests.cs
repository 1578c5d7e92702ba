using Xunit;
using Yadokari.Host.Consoles;

namespace Yadokari.Host.Tests;

public sealed class OutputPumpTests
{
    [Fact]
    public void Everything_arrives_in_order_however_it_is_cut()
    {
        var written = new MemoryStream();
        var expected = new MemoryStream();
        using (var pump = new OutputPump(
            data =>
            {
                written.Write(data);
                return 0;
            },
            _ => { }))
        {
            var random = new Random(1);
            for (int i = 0; i < 300; i++)
            {
                byte[] piece = new byte[i % 100 == 99 ? 3 << 20 : random.Next(1, 200)];
                random.NextBytes(piece);
                expected.Write(piece);
                pump.Write(piece);
            }

            pump.Flush();
            Assert.Equal(expected.Length, written.Length);
            pump.Write("the end"u8);
            expected.Write("the end"u8);
        }

        Assert.True(written.ToArray().AsSpan().SequenceEqual(expected.ToArray()));
    }

    [Fact]
    public void An_output_that_is_not_read_leaves_no_room_and_makes_some_when_it_is()
    {
        using var reads = new ManualResetEventSlim();
        using var ready = new SemaphoreSlim(0);
        using var begun = new ManualResetEventSlim();
        long written = 0;
        using (var pump = new OutputPump(
            data =>
            {
                begun.Set();
                reads.Wait();
                written += data.Length;
                return 0;
            },
            _ => { }))
        {
            pump.Ready += () => ready.Release();
            pump.Write("a"u8);
            begun.Wait(TestContext.Current.CancellationToken);
            Assert.True(pump.HasRoom);
            pump.Write(new byte[(1 << 20) - 1]);
            Assert.True(pump.HasRoom);
            pump.Write(new byte[1 << 16]); // More than is asked for, and yet nobody waits.
            Assert.False(pump.HasRoom);
            Assert.Equal(0, ready.CurrentCount);

            reads.Set();
            ready.Wait(TestContext.Current.CancellationToken);
            Assert.True(pump.HasRoom);
        }

        Assert.Equal((1 << 20) + (1 << 16), written);
    }

    [Fact]
    public void A_broken_output_has_room()
    {
        using var fails = new ManualResetEventSlim();
        using var ready = new ManualResetEventSlim();
        using var pump = new OutputPump(
            _ =>
            {
                fails.Wait();
                throw new InvalidOperationException("an output's");
            },
            _ => { },
            _ => { });
        pump.Ready += ready.Set;
        while (pump.HasRoom)
        {
            pump.Write(new byte[1 << 14]);
        }

        fails.Set();
        ready.Wait(TestContext.Current.CancellationToken);
        Assert.True(pump.HasRoom);
    }

    [Fact]
    public void An_exception_of_an_output_is_told_and_holds_nobody_up()
    {
        var errors = new List<Exception>();
        var fault = new InvalidOperationException("an output's");
        using (var pump = new OutputPump(_ => throw fault, _ => { }, errors.Add))
        {
            for (int i = 0; i < 10; i++)
            {
                pump.Write(new byte[1 << 20]);
                pump.Flush();
            }
        }

        Assert.Equal([fault], errors);
    }

    [Fact]
    public void A_broken_output_is_told_once_and_holds_nobody_up()
    {
        var errors = new List<int>();
        using var pump = new OutputPump(_ => 32, errors.Add);
        for (int i = 0; i < 10; i++)
        {
            pump.Write(new byte[1 << 20]);
            pump.Flush();
        }

        Assert.Equal([32], errors);
    }
}
