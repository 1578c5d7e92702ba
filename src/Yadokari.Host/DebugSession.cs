using Yadokari.Boards.Pc;
using Yadokari.Debugging;
using Yadokari.Debugging.Gdb;
using Yadokari.Host.Consoles;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>A machine held for gdb (<c>--gdb PORT</c>): it starts stopped, and goes on when the debugger says so.</summary>
internal sealed class DebugSession : IDisposable
{
    private readonly DebugGate _gate;
    private readonly GdbServer _server;

    /// <summary>Listens on loopback.</summary>
    /// <exception cref="Core.UserErrorException">The port is taken.</exception>
    public DebugSession(Machine pc, int port)
    {
        _gate = new DebugGate(pc.Vcpus, pc.Memory, pc.Host, pc.Wake, pc.Stop, startStopped: true);
        pc.Gate = new GateOfPc(_gate);
        _server = GdbServer.Start(_gate, port, failed: pc.Fail);
        StandardStreams.Error.WriteLine($"The machine waits for gdb: target remote localhost:{_server.EndPoint.Port}");
    }

    /// <summary>Tells gdb how the machine ended.</summary>
    public void Finish(MachineEnd end) => _gate.Finish(end.Reason switch
    {
        EndReason.PowerOff => ExitCodes.Success,
        EndReason.Panic => ExitCodes.GuestPanic,
        EndReason.TripleFault => ExitCodes.TripleFault,
        _ => ExitCodes.EndedByUser,
    });

    /// <inheritdoc/>
    public void Dispose() => _server.Dispose();

    private sealed class GateOfPc(DebugGate gate) : IVcpuGate
    {
        public void Enter(int vcpu) => gate.Enter(vcpu);

        public void Debug(int vcpu) => gate.Report(vcpu, DebugStopReason.Debug);

        public void Shutdown(int vcpu) => gate.Report(vcpu, DebugStopReason.Shutdown);

        public void Leave(int vcpu) => gate.Leave(vcpu);

        public void Open() => gate.Open();

        public bool IsStepping(int vcpu) => gate.IsStepping(vcpu);
    }
}
