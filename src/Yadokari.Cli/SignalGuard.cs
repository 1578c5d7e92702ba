using System.Runtime.InteropServices;

namespace Yadokari.Cli;

/// <summary>While it lives, a signal that would end the process runs an action instead, which sees to the end.</summary>
internal sealed class SignalGuard : IDisposable
{
    private readonly List<PosixSignalRegistration> _registrations = [];

    /// <summary>Sets it up.</summary>
    /// <param name="action">Gets the signal's number, on a thread of the pool.</param>
    public SignalGuard(Action<int> action)
    {
        foreach ((PosixSignal signal, int number) in (ReadOnlySpan<(PosixSignal, int)>)
            [(PosixSignal.SIGHUP, 1), (PosixSignal.SIGINT, 2), (PosixSignal.SIGQUIT, 3), (PosixSignal.SIGTERM, 15)])
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                action(number);
            }));
        }
    }

    /// <summary>Signals mean what they meant before.</summary>
    public void Dispose() => _registrations.ForEach(r => r.Dispose());
}
