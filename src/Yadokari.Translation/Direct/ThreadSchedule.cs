using Yadokari.Linux;

namespace Yadokari.Translation.Direct;

/// <summary>How long the thread that asks has run and waited for a processor, whichever thread that is by now. Of the vCPU's thread.</summary>
internal sealed class ThreadSchedule : IDisposable
{
    private SchedulerStatistics? _statistics;
    private int _thread;

    /// <summary>Both in nanoseconds.</summary>
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

    /// <summary>Gives back what it read from, which the next look opens again.</summary>
    public void Dispose()
    {
        _statistics?.Dispose();
        _statistics = null;
    }
}
