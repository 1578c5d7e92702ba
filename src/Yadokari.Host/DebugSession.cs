using Yadokari.Debugging;
using Yadokari.Debugging.Gdb;
using Yadokari.Host.Consoles;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>A machine held for gdb (<c>--gdb PORT</c>): it starts stopped, and goes on when the debugger says so.</summary>
internal sealed class DebugSession : IDisposable
{
    private readonly DebugTarget _target;
    private readonly GdbServer _server;

    /// <summary>Listens on loopback.</summary>
    /// <exception cref="Core.UserErrorException">The port is taken.</exception>
    public DebugSession(Machine pc, int port)
    {
        _target = new DebugTarget(pc.Vcpus, pc.Memory, pc.Host, pc.RunControl, pc.Stop, startStopped: true);
        _server = GdbServer.Start(_target, port, failed: pc.Fail);
        StandardStreams.Error.WriteLine($"The machine waits for gdb: target remote localhost:{_server.EndPoint.Port}");
    }

    /// <summary>Tells gdb how the machine ended.</summary>
    public void Finish(MachineEnd end) => _target.Finish(ExitCodes.Of(end));

    /// <inheritdoc/>
    public void Dispose() => _server.Dispose();
}
