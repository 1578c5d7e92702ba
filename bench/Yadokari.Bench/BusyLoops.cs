using System.Diagnostics;

namespace Yadokari.Bench;

/// <summary>Processes that keep the host's processors busy, as other work does on most hosts. Disposing ends them.</summary>
internal sealed class BusyLoops : IDisposable
{
    private readonly List<Process> _loops = [];

    /// <summary>Starts the processes.</summary>
    /// <param name="count">Count of processes.</param>
    public BusyLoops(int count)
    {
        for (var i = 0; i < count; i++)
        {
            // A loop whose parent has exited ends by itself, however the parent ended.
            _loops.Add(Process.Start("sh", ["-c", $"while kill -0 {Environment.ProcessId} 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; done"]));
        }
    }

    public void Dispose()
    {
        foreach (var loop in _loops)
        {
            loop.Kill();
            loop.Dispose();
        }
    }
}
