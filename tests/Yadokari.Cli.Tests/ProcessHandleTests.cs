using System.Diagnostics;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Xunit;
using Yadokari.Linux;

namespace Yadokari.Cli.Tests;

/// <summary>Processes that are signalled, and none that has their number.</summary>
public sealed class ProcessHandleTests : IDisposable
{
    private const int NoSignal = 0;

    private readonly string _lock = Path.GetTempFileName();

    public void Dispose() => File.Delete(_lock);

    [Fact]
    public void A_process_that_has_ended_is_not_signalled()
    {
        using Process sleep = Process.Start("sleep", "100");
        using ProcessHandle handle = ProcessHandle.TryOpen(sleep.Id)!;
        Assert.True(handle.TrySignal(NoSignal));
        Assert.True(handle.TryKill());
        sleep.WaitForExit();
        Assert.False(handle.TrySignal(NoSignal));
        handle.Dispose();
        Assert.False(handle.TryKill());
        Assert.Null(ProcessHandle.TryOpen(0));
        Assert.Null(ProcessHandle.TryOpen(-1));
    }

    [Fact]
    public void Signals_and_disposing_may_meet()
    {
        using Process sleep = Process.Start("sleep", "100");
        for (int i = 0; i < 200; i++)
        {
            using ProcessHandle handle = ProcessHandle.TryOpen(sleep.Id)!;
            Parallel.Invoke(() => handle.TrySignal(NoSignal), handle.Dispose, () => handle.TrySignal(NoSignal));
            Assert.False(handle.TrySignal(NoSignal));
        }

        sleep.Kill();
        sleep.WaitForExit();
    }

    [Fact]
    public void A_number_alone_does_not_make_a_process_the_one_that_has_a_lock()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/flock"), "flock is not installed.");
        using Process holder = Process.Start("flock", ["--no-fork", _lock, "sleep", "100"]);
        using Process other = Process.Start("sleep", "100");
        ProcessHandle? found = null;
        Assert.True(SpinWait.SpinUntil(() => (found = ProcessHandle.TryOpenHolder(holder.Id, _lock)) is not null, TimeSpan.FromSeconds(60)));
        Assert.Null(ProcessHandle.TryOpenHolder(other.Id, _lock));
        Assert.Equal(0, FileTree.OpenFolder(Path.GetDirectoryName(_lock)!, out SafeFileHandle folder));
        Assert.Equal(0, FileTree.OpenPlace(folder, Encoding.UTF8.GetBytes(Path.GetFileName(_lock) + "\0"), out SafeFileHandle place));
        using (found)
        using (folder)
        using (place)
        {
            Assert.Null(ProcessHandle.TryOpenHolder(Environment.ProcessId, _lock)); // It has the file open, and no lock.
            Assert.True(found!.TryKill());
        }

        holder.WaitForExit();
        Assert.Null(ProcessHandle.TryOpenHolder(holder.Id, _lock));
        Assert.False(other.HasExited);
        other.Kill();
        other.WaitForExit();
    }
}
