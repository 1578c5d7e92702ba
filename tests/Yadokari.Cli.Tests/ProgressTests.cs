using System.Text;
using System.Text.RegularExpressions;
using Spectre.Console;
using Xunit;
using Yadokari.Cli.Progress;
using Yadokari.Host;

namespace Yadokari.Cli.Tests;

/// <summary>How long work shows what it does: on a terminal, and in a log.</summary>
public sealed class ProgressTests
{
    private readonly FakeTime _time = new();
    private readonly StringWriter _output = new() { NewLine = "\n" };

    // A hundred reports a second, as dpkg makes them, for so long.
    private void Work(IProgressReport progress, TimeSpan length)
    {
        var between = TimeSpan.FromMilliseconds(10);
        long count = length.Ticks / between.Ticks;
        for (long i = 0; i < count; i++)
        {
            progress.Detail($"package-{i}");
            progress.Fraction(i / (double)count);
            _time.Advance(between);
        }
    }

    private IAnsiConsole Console(int width = 120)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = AnsiSupport.Yes,
            ColorSystem = ColorSystemSupport.EightBit,
            Interactive = InteractionSupport.Yes,
            Out = new AnsiConsoleOutput(_output),
        });
        console.Profile.Width = width;
        return console;
    }

    [Fact]
    public void Bars_are_drawn_a_few_times_a_second()
    {
        BarProgress.While(Console(), _time, progress =>
        {
            progress.Step("unpacking");
            Work(progress, TimeSpan.FromSeconds(60));
            return 0;
        });
        Assert.InRange(Regex.Count(_output.ToString(), "unpacking"), 200, 4 * 60 + 3);
        Assert.Contains("package-5", _output.ToString());
        Assert.Contains("100%", _output.ToString());
    }

    [Fact]
    public void Bars_that_stand_still_cost_little()
    {
        BarProgress.While(Console(), _time, progress =>
        {
            foreach (string step in (string[])["fetching", "downloading", "making", "starting", "installing", "unpacking", "configuring"])
            {
                progress.Step(step);
            }

            progress.Detail("initramfs-tools (triggers)");
            _time.Advance(TimeSpan.FromMinutes(10));
            return 0;
        });
        Assert.InRange(Regex.Count(_output.ToString(), "configuring"), 600, 605);
        Assert.Contains("initramfs-tools (triggers)", _output.ToString());
        Assert.InRange(_output.ToString().Length, 0, 1 << 20);
    }

    [Theory]
    [InlineData(80)]
    [InlineData(60)]
    public void Bars_leave_room_for_what_a_step_is_at(int width)
    {
        BarProgress.While(Console(width), _time, progress =>
        {
            progress.Step("downloading Debian's packages (122 MB)");
            progress.Step("configuring packages");
            progress.Fraction(0.61);
            progress.Detail("initramfs-tools (triggers)");
            _time.Advance(TimeSpan.FromSeconds(2));
            return 0;
        });
        string[] lines = [.. Regex.Replace(_output.ToString(), @"\e\[[0-9;?]*[A-Za-z]", "").Split('\n').Select(l => l.TrimEnd())];
        Assert.Contains(lines, l => Regex.IsMatch(l, @"^configuring packages: initramfs-.* 61% 00:00:\d\d$"));
        Assert.All(lines, l => Assert.InRange(l.Length, 0, width));
        Assert.DoesNotContain(lines, l => l.Length > 0 && !l.Contains('%')); // Each has one line.
    }

    [Fact]
    public void Bars_keep_what_work_returns_and_throws()
    {
        Assert.Equal(5, BarProgress.While(Console(), _time, _ => 5));
        Assert.Throws<OperationCanceledException>(() => BarProgress.While<int>(Console(), _time, _ => throw new OperationCanceledException()));
    }

    [Fact]
    public void A_log_has_a_line_for_a_step_and_one_every_ten_seconds()
    {
        using (var progress = new PlainProgress(_output, _time))
        {
            progress.Step("fetching");
            _time.Advance(TimeSpan.FromSeconds(9));
            progress.Step("unpacking");
            Work(progress, TimeSpan.FromSeconds(20));
            progress.Step("configuring");
            progress.Detail("initramfs-tools (triggers)");
            _time.Advance(TimeSpan.FromSeconds(75));
        }

        _time.Advance(TimeSpan.FromSeconds(60));
        Assert.Equal(
            """
            yado: fetching
            yado: unpacking
            yado: unpacking: 50 %, package-999 (0:10)
            yado: unpacking: 100 %, package-1999 (0:20)
            yado: configuring
            yado: configuring: initramfs-tools (triggers) (0:10)
            yado: configuring: initramfs-tools (triggers) (0:20)
            yado: configuring: initramfs-tools (triggers) (0:30)
            yado: configuring: initramfs-tools (triggers) (0:40)
            yado: configuring: initramfs-tools (triggers) (0:50)
            yado: configuring: initramfs-tools (triggers) (1:00)
            yado: configuring: initramfs-tools (triggers) (1:10)

            """,
            _output.ToString());
    }
}
