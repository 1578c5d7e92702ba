using System.Text;
using Xunit;
using Yadokari.Host.Consoles;

namespace Yadokari.Host.Tests;

public sealed class LineWriterTests
{
    private readonly MemoryStream _stream = new();

    private string Written => Encoding.UTF8.GetString(_stream.ToArray());

    [Fact]
    public void Only_whole_lines_are_written_and_nothing_after_the_end()
    {
        var writer = new LineWriter(_stream);
        writer.Write("one ");
        writer.Flush();
        Assert.Equal("", Written);
        writer.WriteLine("line");
        writer.Write('é');
        writer.Write("té");
        writer.Flush();
        Assert.Equal("one line\n", Written);
        writer.Write("\nhal");
        writer.Dispose();
        writer.WriteLine("f");
        writer.Flush();
        writer.Dispose();
        Assert.Equal("one line\nété\n", Written);
    }

    [Fact]
    public void Long_lines_and_many_are_kept()
    {
        var expected = new StringBuilder();
        using var writer = new LineWriter(_stream);
        for (int i = 0; i < 100; i++)
        {
            string line = new((char)('a' + (i % 26)), i * i * 40);
            writer.WriteLine(line);
            expected.Append(line).Append('\n');
            Assert.True(_stream.Length == 0 || Written.EndsWith('\n'));
        }

        writer.Dispose();
        Assert.Equal(expected.ToString(), Written);
    }

    [Fact]
    public void Several_may_write_and_another_end_it()
    {
        var writer = new LineWriter(_stream);
        using var begun = new CountdownEvent(4);
        Thread[] threads = [.. Enumerable.Range(0, 4).Select(n => new Thread(() =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                writer.WriteLine($"thread {n} line {i:d8}");
                if (i == 5000)
                {
                    begun.Signal();
                }
            }
        }))];
        Array.ForEach(threads, t => t.Start());
        begun.Wait(TestContext.Current.CancellationToken);
        writer.Dispose();
        string written = Written;
        Array.ForEach(threads, t => t.Join());
        Assert.Equal(written, Written);
        Assert.EndsWith("\n", written);
        Assert.All(written.Split('\n')[..^1], line => Assert.Matches("^thread [0-3] line [0-9]{8}$", line));
    }
}
