using System.Runtime.ExceptionServices;

namespace Yadokari.Translation.Tests;

/// <summary>A thread of a test's own: engines use the thread's gs base, and a process is traced by one thread.</summary>
internal static class OwnThread
{
    /// <summary>Runs a test on it, and throws what it throws.</summary>
    public static void Run(Action test)
    {
        ExceptionDispatchInfo? failure = null;
        Thread thread = new(() =>
        {
            try
            {
                test();
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        });
        thread.Start();
        thread.Join();
        failure?.Throw();
    }
}
