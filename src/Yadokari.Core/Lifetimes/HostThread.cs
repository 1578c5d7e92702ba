namespace Yadokari.Core.Lifetimes;

/// <summary>Threads of the monitor's own. All of them begin here, so that none lets an exception end the process.</summary>
public static class HostThread
{
    /// <summary>Starts a background thread.</summary>
    /// <param name="name">By which debuggers and <c>/proc</c> know it.</param>
    /// <param name="body">What it does.</param>
    /// <param name="failed">
    /// Gets what <paramref name="body"/> throws, on that thread, as the last thing it does: ends the machine. Null leaves the exception
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
