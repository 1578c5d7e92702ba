namespace Yadokari.Core.Lifetimes;

/// <summary>Threads of the monitor. All are started here, so that no unhandled exception ends the process.</summary>
public static class HostThread
{
    /// <summary>Starts a background thread.</summary>
    /// <param name="name">Its name in debuggers and <c>/proc</c>.</param>
    /// <param name="body">The thread's code.</param>
    /// <param name="failed">
    /// Called on that thread with an exception of <paramref name="body"/>, as its last action: ends the machine. Null leaves the exception
    /// unhandled, which ends the process; for threads that are not part of a machine, as in tests.
    /// </param>
    public static Thread Start(string name, Action body, Action<Exception>? failed)
    {
        var thread = new Thread(() => Run(body, failed)) { IsBackground = true, Name = name };
        thread.Start();
        return thread;
    }

    private static void Run(Action body, Action<Exception>? failed)
    {
        try
        {
            body();
        }
        catch (Exception error) when (failed is not null)
        {
            failed(error);
        }
    }
}
