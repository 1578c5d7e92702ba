using Xunit;
using Yadokari.Cli.Consoles;

namespace Yadokari.Cli.Tests;

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
