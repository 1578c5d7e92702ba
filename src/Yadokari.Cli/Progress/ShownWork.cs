using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Linux;

namespace Yadokari.Cli.Progress;

/// <summary>Shows long work on standard error: as bars on a terminal, otherwise as plain lines.</summary>
internal sealed class ShownWork : ILongWork
{
    /// <summary>
    /// Does the work. A signal cancels it, so that incomplete files are removed and the terminal's cursor is shown again, and then ends the process.
    /// </summary>
    public T Do<T>(Func<IProgressReport, CancellationToken, T> work)
    {
        const int StandardError = 2;
        using var interrupted = new CancellationTokenSource();
        int signal = 0;
        using var guard = new SignalGuard(number =>
        {
            signal = number;
            interrupted.Cancel();
        });
        try
        {
            if (Terminal.IsTerminal(StandardError))
            {
                return BarProgress.While(progress => work(progress, interrupted.Token));
            }

            using var lines = new PlainProgress(StandardStreams.Error, TimeProvider.System);
            return work(lines, interrupted.Token);
        }
        catch (OperationCanceledException)
        {
            Environment.Exit(ExitCodes.Signal(signal));
            throw;
        }
    }
}
