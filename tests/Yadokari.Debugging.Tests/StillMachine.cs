using Yadokari.Core.Engines;
using Yadokari.Core.Memory;

namespace Yadokari.Debugging.Tests;

/// <summary>A virtual machine of <see cref="ScriptedVcpu"/>s whose clock stands still, and whose writes nobody asks about.</summary>
internal sealed class StillMachine(GuestMemory memory) : IVm, IGuestClock
{
    public IGuestClock Clock => this;

    public IDirtyLog DirtyLog => throw new NotSupportedException();

    public IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics => [];

    public ulong Frequency => 1_000_000_000;

    public IVcpu CreateVcpu(int id, IVcpuHost host) => new ScriptedVcpu(id, memory);

    public void MemoryWritten(ulong gpa, ulong length)
    {
    }

    public ulong Read() => 0;

    public void Set(ulong value)
    {
    }

    public void Stop()
    {
    }

    public void Start()
    {
    }

    public void CatchUp()
    {
    }

    public void Dispose()
    {
    }
}
