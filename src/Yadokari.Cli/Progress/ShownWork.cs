using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Linux;

namespace Yadokari.Cli.Progress;

/// <summary>Long work as bars on a terminal, and as plain lines anywhere else; both on standard error.</summary>
internal sealed class ShownWork : ILongWork
{
    /// <summary>
    /// Does it. A signal unwinds it, so that nothing half-made stays and the terminal gets its cursor back, and then ends the process.
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
