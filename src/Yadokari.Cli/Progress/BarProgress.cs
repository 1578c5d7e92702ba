using Spectre.Console;
using Spectre.Console.Rendering;
using Yadokari.Host;

namespace Yadokari.Cli.Progress;

/// <summary>Progress as bars on a terminal, drawn a few times a second at most, and once a second while nothing changes but the time.</summary>
internal sealed class BarProgress : IProgressReport
{
    private const string DetailKey = "detail";
    private const int TicksPerSecond = 4;

    private readonly Lock _drawing = new();
    private readonly ProgressContext _context;
    private ProgressTask? _task;
    private int _unchangedTicks;

    private BarProgress(ProgressContext context) => _context = context;

    /// <summary>Does work while bars are shown on standard error.</summary>
    public static T While<T>(Func<IProgressReport, T> work) =>
        While(AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) }), TimeProvider.System, work);

    /// <summary>Does work while bars are shown.</summary>
    /// <param name="console">The terminal.</param>
    /// <param name="time">Tells when to draw.</param>
    /// <param name="work">Gets what it reports to.</param>
    public static T While<T>(IAnsiConsole console, TimeProvider time, Func<IProgressReport, T> work) => console.Progress()
        .AutoRefresh(false)
        .Columns(new StepColumn(), new ProgressBarColumn { Width = BarWidth(console.Profile.Width) }, new PercentageColumn(), new ElapsedTimeColumn())
        .Start(context =>
        {
            var progress = new BarProgress(context);
            var tick = TimeSpan.FromSeconds(1.0 / TicksPerSecond);
            using (time.CreateTimer(_ => progress.Tick(), null, tick, tick))
            {
                T result = work(progress);
                progress.End();
                return result;
            }
        });

    /// <inheritdoc/>
    public void Step(string what)
    {
        End();
        ProgressTask task = _context.AddTask(what, maxValue: 1);
        task.IsIndeterminate = true;
        Volatile.Write(ref _task, task);
        Change();
    }

    /// <inheritdoc/>
    public void Fraction(double done)
    {
        if (Volatile.Read(ref _task) is { } task)
        {
            task.IsIndeterminate = false;
            task.Value = done;
            Change();
        }
    }

    /// <inheritdoc/>
    public void Detail(string what)
    {
        if (Volatile.Read(ref _task) is { } task)
        {
            task.State.Update<Note>(DetailKey, _ => new Note(what));
            Change();
        }
    }

    private void End()
    {
        if (_task is { } task)
        {
            task.IsIndeterminate = false;
            task.Value = 1;
            task.StopTask();
        }
    }

    private void Change() => Volatile.Write(ref _unchangedTicks, TicksPerSecond);

    // A terminal may take its time, or be stopped: ticks that come meanwhile do nothing.
    private void Tick()
    {
        if (!_drawing.TryEnter())
        {
            return;
        }

        try
        {
            if (Interlocked.Increment(ref _unchangedTicks) >= TicksPerSecond)
            {
                Volatile.Write(ref _unchangedTicks, 0);
                _context.Refresh();
            }
        }
        finally
        {
            _drawing.Exit();
        }
    }

    // What a task keeps has to be a value.
    private readonly record struct Note(string? Text);

    // Short on a narrow terminal: the percentage says the same, and nothing else says what a step is at.
    private static int BarWidth(int width) => Math.Clamp(width / 8, 10, 40);

    /// <summary>What a step is, and while it runs what it is at: in one column, which takes all the room that the others leave.</summary>
    private sealed class StepColumn : ProgressColumn
    {
        private const int Percentage = 4;
        private const int ElapsedTime = 8;
        private const int Gaps = 3;

        public override int? GetColumnWidth(RenderOptions options) => Width(options);

        public override IRenderable Render(RenderOptions options, ProgressTask task, TimeSpan deltaTime)
        {
            string? detail = task.IsFinished ? null : task.State.Get<Note>(DetailKey).Text;
            string text = string.IsNullOrEmpty(detail) ? task.Description : $"{task.Description}: {detail}";

            // A second line would make the bars jump.
            int width = Width(options);
            return new Text(text.Length <= width ? text : $"{text.AsSpan(0, width - 1)}…");
        }

        private static int Width(RenderOptions options) =>
            Math.Max(1, options.ConsoleSize.Width - BarWidth(options.ConsoleSize.Width) - Percentage - ElapsedTime - Gaps);
    }
}
