using Spectre.Console;

namespace Yadokari.Cli.DefaultGuest;

/// <summary>Progress as bars on a terminal that is standard error.</summary>
internal sealed class BarProgress : IProgressReport
{
    private readonly ProgressContext _context;
    private ProgressTask? _task;

    private BarProgress(ProgressContext context) => _context = context;

    /// <summary>Does work while bars are shown.</summary>
    public static T While<T>(Func<IProgressReport, T> work)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        return console.Progress()
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn())
            .Start(context =>
            {
                var progress = new BarProgress(context);
                T result = work(progress);
                progress.End();
                return result;
            });
    }

    /// <inheritdoc/>
    public void Step(string what)
    {
        End();
        _task = _context.AddTask(Markup.Escape(what), maxValue: 1);
        _task.IsIndeterminate = true;
    }

    /// <inheritdoc/>
    public void Fraction(double done)
    {
        if (_task is { } task)
        {
            task.IsIndeterminate = false;
            task.Value = done;
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
}
