using System.Runtime.InteropServices;

namespace Yadokari.Host;

/// <summary>Until it is disposed of, runs an action instead when a signal would end the process.</summary>
public sealed class SignalGuard : IDisposable
{
    private readonly List<PosixSignalRegistration> _registrations = [];

    /// <summary>
    /// The signals that end a process by default (signal(7), x86-64). Without: signals that can't be caught, faults of the running code, SIGPIPE,
    /// which the runtime ignores, and the first real-time signals, which the C library and the runtime use.
    /// </summary>
    public static IEnumerable<int> Deadly { get; } = [1, 2, 3, 6, 10, 12, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, .. Enumerable.Range(35, 30)];

    /// <summary>Registers the signal handlers.</summary>
    /// <param name="action">Called with the signal's number, on a thread-pool thread.</param>
    public SignalGuard(Action<int> action)
    {
        foreach (int number in Deadly)
        {
            _registrations.Add(PosixSignalRegistration.Create((PosixSignal)number, context =>
            {
                context.Cancel = true;
                action(number);
            }));
        }
    }

    /// <summary>Removes the handlers.</summary>
    public void Dispose() => _registrations.ForEach(r => r.Dispose());
}
