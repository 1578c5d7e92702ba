using Yadokari.Linux;

namespace Yadokari.Translation.Direct;

/// <summary>The scheduler's statistics of the calling thread, which may change from call to call. On the vCPU's thread.</summary>
internal sealed class ThreadSchedule : IDisposable
{
    private SchedulerStatistics? _statistics;
    private int _thread;

    /// <summary>Nanoseconds that the calling thread has run and has waited for a processor.</summary>
    public (long Ran, long Waited) Read()
    {
        if (_statistics is null || _thread != Environment.CurrentManagedThreadId)
        {
            _statistics?.Dispose();
            _statistics = SchedulerStatistics.OfThread();
            _thread = Environment.CurrentManagedThreadId;
        }

        return _statistics.Read();
    }

    /// <summary>Closes the file of the statistics. <see cref="Read"/> opens it again.</summary>
    public void Dispose()
    {
        _statistics?.Dispose();
        _statistics = null;
    }
}
