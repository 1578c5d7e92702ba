using System.Buffers.Text;
using Microsoft.Win32.SafeHandles;

namespace Yadokari.Linux;

/// <summary>
/// How long a thread has run and has waited for a processor (Linux: Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat). A kernel
/// without these statistics reports that no thread waits.
/// </summary>
public sealed class SchedulerStatistics : IDisposable
{
    private readonly SafeFileHandle? _file;

    private SchedulerStatistics(string path)
    {
        try
        {
            _file = File.OpenHandle(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without CONFIG_SCHED_INFO.
        }
    }

    /// <summary>Opens the statistics of the calling thread; any thread may read them.</summary>
    public static SchedulerStatistics OfThread() => new("/proc/thread-self/schedstat");

    /// <summary>Opens the statistics of a process with one thread.</summary>
    public static SchedulerStatistics OfProcess(int id) => new($"/proc/{id}/schedstat");

    /// <summary>Nanoseconds that the thread has run and has waited; zeros if unknown.</summary>
    public (long Ran, long Waited) Read()
    {
        Span<byte> text = stackalloc byte[96];
        int length;
        try
        {
            length = _file is null ? 0 : RandomAccess.Read(_file, text, 0);
        }
        catch (IOException)
        {
            // The thread has ended.
            return default;
        }

        return Utf8Parser.TryParse(text[..length], out long ran, out int end) && end < length
            && Utf8Parser.TryParse(text[(end + 1)..length], out long waited, out _)
                ? (ran, waited)
                : default;
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();
}
