using System.Collections.Concurrent;

namespace Yadokari.Debugging.Tests;

public sealed class DebugGateTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    [Fact]
    public void Each_resume_is_followed_by_one_stop_however_often_it_is_asked_for()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 3);
        var stops = new BlockingCollection<DebugStop>();
        machine.Gate.Attach(stops.Add);
        Assert.Equal(DebugStopReason.Requested, Take(stops).Reason);
        for (int i = 0; i < 50; i++)
        {
            machine.Gate.Resume([VcpuAction.Run, VcpuAction.Run, VcpuAction.Run]);
            machine.Gate.Stop();
            machine.Gate.Stop();
            Assert.Equal(DebugStopReason.Requested, Take(stops).Reason);
            machine.Gate.Stop();
        }

        Assert.Empty(stops);
    }

    [Fact]
    public void Nobody_runs_while_stopped_and_those_told_to_stay_never_do()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        var stops = new BlockingCollection<DebugStop>();
        machine.Gate.Attach(stops.Add);
        Take(stops);
        long still = machine.Vcpus[1].Executed;
        for (int i = 1; i <= 20; i++)
        {
            long before = machine.Vcpus[0].Executed;
            machine.Gate.Resume([VcpuAction.Step, VcpuAction.Stay]);
            Assert.Equal(new DebugStop(0, DebugStopReason.Debug), Take(stops));
            Assert.Equal(before + 1, machine.Vcpus[0].Executed);
        }

        Assert.Equal(still, machine.Vcpus[1].Executed);
    }

    [Fact]
    public void A_debugger_may_leave_while_the_guest_runs_and_come_back_at_once()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        for (int i = 0; i < 20; i++)
        {
            var stops = new BlockingCollection<DebugStop>();
            machine.Gate.Attach(stops.Add);
            Take(stops);
            machine.Vcpus[0].SetBreakpoints([0x1234]);
            machine.Gate.Resume([VcpuAction.Run, VcpuAction.Run]);
            machine.Gate.Detach();
        }

        var last = new BlockingCollection<DebugStop>();
        machine.Gate.Attach(last.Add);
        Take(last);
        Assert.Equal(0, machine.Vcpus[0].BreakpointCount);
    }

    [Fact]
    public void Reports_pass_where_nobody_debugs()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, startStopped: true);
        machine.Gate.Report(0, DebugStopReason.Shutdown);
        machine.Gate.Open();
        Assert.True(SpinWait.SpinUntil(() => machine.Vcpus[0].Executed > 0, s_patience));
    }

    [Fact]
    public void The_end_lets_held_vcpus_go_and_is_announced_once()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, startStopped: true);
        var stops = new BlockingCollection<DebugStop>();
        machine.Gate.Attach(stops.Add);
        Assert.Equal(DebugStopReason.Requested, Take(stops).Reason);
        machine.End(5);
        machine.Gate.Finish(6);
        Assert.Equal(new DebugStop(0, DebugStopReason.Ended, 5), Take(stops));
        Assert.Empty(stops);
        Assert.Throws<InvalidOperationException>(() => machine.Gate.Attach(stops.Add));
    }

    [Fact]
    public void A_running_machine_is_not_resumed()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop);
        Assert.Throws<InvalidOperationException>(() => machine.Gate.Resume([VcpuAction.Run]));
    }

    private static DebugStop Take(BlockingCollection<DebugStop> stops)
    {
        Assert.True(stops.TryTake(out DebugStop stop, s_patience));
        return stop;
    }
}
