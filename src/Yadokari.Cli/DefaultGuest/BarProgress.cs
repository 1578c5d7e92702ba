using Spectre.Console;
using Spectre.Console.Rendering;

namespace Yadokari.Cli.DefaultGuest;

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
        .Columns(
            new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn(), new DetailColumn())
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
        ProgressTask task = _context.AddTask(Markup.Escape(what), maxValue: 1);
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

    /// <summary>What a step that runs is at.</summary>
    private sealed class DetailColumn : ProgressColumn
    {
        protected override bool NoWrap => true;

        public override IRenderable Render(RenderOptions options, ProgressTask task, TimeSpan deltaTime) =>
            new Text(task.IsFinished ? "" : task.State.Get<Note>(DetailKey).Text ?? "") { Overflow = Overflow.Ellipsis };
    }
}
