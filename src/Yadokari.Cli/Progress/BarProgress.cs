using Spectre.Console;
using Spectre.Console.Rendering;
using Yadokari.Host;

namespace Yadokari.Cli.Progress;

/// <summary>Shows progress as bars on a terminal, redrawn at most a few times a second, and once a second while only the time changes.</summary>
internal sealed class BarProgress : IProgressReport
{
    private const string DetailKey = "detail";
    private const int TicksPerSecond = 4;

    private readonly Lock _drawing = new();
    private readonly ProgressContext _context;
    private ProgressTask? _task;
    private int _unchangedTicks;

    private BarProgress(ProgressContext context) => _context = context;

    /// <summary>Does work and shows bars on standard error meanwhile.</summary>
    public static T While<T>(Func<IProgressReport, T> work) =>
        While(AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) }), TimeProvider.System, work);

    /// <summary>Does work and shows bars meanwhile.</summary>
    /// <param name="console">The terminal.</param>
    /// <param name="time">The clock that triggers drawing.</param>
    /// <param name="work">The work; receives the report to write to.</param>
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

    // Writing to a slow or stopped terminal may block: ticks during a write do nothing.
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

    // State of a task has to be a value type.
    private readonly record struct Note(string? Text);

    // Short on a narrow terminal: the percentage has the same information, and the text of the step needs the room.
    private static int BarWidth(int width) => Math.Clamp(width / 8, 10, 40);

    /// <summary>Name and detail of a step, in the column that takes the width that the others leave.</summary>
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

            // One line only: a second line would move the bars.
            int width = Width(options);
            return new Text(text.Length <= width ? text : $"{text.AsSpan(0, width - 1)}…");
        }

        private static int Width(RenderOptions options) =>
            Math.Max(1, options.ConsoleSize.Width - BarWidth(options.ConsoleSize.Width) - Percentage - ElapsedTime - Gaps);
    }
}
