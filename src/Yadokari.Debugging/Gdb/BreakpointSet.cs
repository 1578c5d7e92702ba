namespace Yadokari.Debugging.Gdb;

/// <summary>
/// Breakpoints of one debugger. An engine treats software and hardware breakpoints alike and never patches guest memory; they are kept apart because a
/// debugger may set both at one address.
/// </summary>
internal sealed class BreakpointSet(DebugTarget target)
{
    private const int Limit = 4096;

    private readonly HashSet<ulong> _software = [];
    private readonly HashSet<ulong> _hardware = [];

    /// <summary>Whether a breakpoint of this kind is set at a linear address.</summary>
    public bool Contains(bool hardware, ulong address) => (hardware ? _hardware : _software).Contains(address);

    /// <summary>Sets a breakpoint, which may be set already; false if there are too many.</summary>
    public bool Insert(bool hardware, ulong address)
    {
        if (_software.Count + _hardware.Count >= Limit)
        {
            return false;
        }

        if ((hardware ? _hardware : _software).Add(address))
        {
            Apply();
        }

        return true;
    }

    /// <summary>Removes a breakpoint, if it is set.</summary>
    public void Remove(bool hardware, ulong address)
    {
        if ((hardware ? _hardware : _software).Remove(address))
        {
            Apply();
        }
    }

    private void Apply()
    {
        ulong[] all = [.. _software.Union(_hardware)];
        for (int i = 0; i < target.VcpuCount; i++)
        {
            target.Vcpu(i).SetBreakpoints(all);
        }
    }
}
