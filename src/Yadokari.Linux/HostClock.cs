using System.Diagnostics;
using Yadokari.Core.Time;

namespace Yadokari.Linux;

/// <summary>The host's monotonic clock as a machine's clock.</summary>
public sealed class HostClock : IClock, IDisposable
{
    private readonly long _start = Stopwatch.GetTimestamp();

    /// <inheritdoc/>
    public long Now => (long)Stopwatch.GetElapsedTime(_start).TotalNanoseconds;

    /// <inheritdoc/>
    public DateTime UtcNow => DateTime.UtcNow;

    /// <inheritdoc/>
    public IAlarm CreateAlarm(Action fire) => throw new NotImplementedException();

    /// <summary>Stops the clock's thread; no alarm fires after that.</summary>
    public void Dispose()
    {
    }
}
