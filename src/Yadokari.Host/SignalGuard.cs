using System.Runtime.InteropServices;

namespace Yadokari.Host;

/// <summary>While it lives, a signal that would end the process runs an action instead, which sees to the end.</summary>
public sealed class SignalGuard : IDisposable
{
    private readonly List<PosixSignalRegistration> _registrations = [];

    /// <summary>
    /// The signals that end a process by default (signal(7), x86-64), but those that can't be caught or are faults of the code that runs,
    /// SIGPIPE, which the runtime ignores, and the first of the real-time signals, which are the C library's and the runtime's own.
    /// </summary>
    public static IEnumerable<int> Deadly { get; } = [1, 2, 3, 6, 10, 12, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, .. Enumerable.Range(35, 30)];

    /// <summary>Sets it up.</summary>
    /// <param name="action">Gets the signal's number, on a thread of the pool.</param>
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

    /// <summary>Signals mean what they meant before.</summary>
    public void Dispose() => _registrations.ForEach(r => r.Dispose());
}
