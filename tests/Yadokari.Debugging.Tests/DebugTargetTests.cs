namespace Yadokari.Debugging.Tests;

public sealed class DebugTargetTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);
    private static readonly DebugStop s_requested = new(0, DebugStopReason.Requested);
    private static readonly byte[] s_tripleFault = [0x90, 0x0F, 0x0B];

    [Fact]
    public void A_stop_is_given_again_until_the_machine_is_resumed()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 3);
        using var debugger = new Debugger(machine);
        for (int i = 0; i < 50; i++)
        {
            Assert.Equal(s_requested, machine.Target.Stop());
            long[] stopped = Executed(machine);
            Assert.Equal(s_requested, machine.Target.Stop());
            Assert.Equal(stopped, Executed(machine));
            machine.Target.Resume([VcpuAction.Run, VcpuAction.Run, VcpuAction.Run]);
            AwaitProgress(machine, 2);
        }

        Assert.False(machine.Target.HasReport);
    }

    [Fact]
    public void Nobody_runs_while_stopped_and_those_told_to_stay_never_do()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        using var debugger = new Debugger(machine);
        machine.Target.Stop();
        long still = machine.Vcpus[1].Executed;
        for (int i = 1; i <= 20; i++)
        {
            long before = machine.Vcpus[0].Executed;
            machine.Target.Resume([VcpuAction.Step, VcpuAction.Stay]);
            Assert.Equal(new DebugStop(0, DebugStopReason.Debug), debugger.AwaitReport());
            Assert.Equal(before + 1, machine.Vcpus[0].Executed);
        }

        Assert.Equal(still, machine.Vcpus[1].Executed);
    }

    [Fact]
    public void Of_two_breakpoints_met_at_once_the_other_is_met_after_the_first()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        using var debugger = new Debugger(machine);
        machine.Target.Stop();
        foreach (ScriptedVcpu vcpu in machine.Vcpus)
        {
            vcpu.SetBreakpoints([ScriptedMachine.Code + 3]);
        }

        machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
        DebugStop first = debugger.AwaitReport();
        int other = 1 - first.Vcpu;
        machine.Vcpus[first.Vcpu].SetBreakpoints([]);
        machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
        Assert.Equal(new DebugStop(other, DebugStopReason.Debug), debugger.AwaitReport());
    }

    [Fact]
    public void A_debugger_may_leave_while_the_guest_runs_and_come_back_at_once()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        for (int i = 0; i < 20; i++)
        {
            using var debugger = new Debugger(machine);
            machine.Target.Stop();
            machine.Vcpus[0].SetBreakpoints([0x1234]);
            machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
            machine.Target.Detach();
            Assert.Equal(0, machine.Vcpus[0].BreakpointCount);
            AwaitProgress(machine, 0);
        }
    }

    [Fact]
    public void A_debugger_that_leaves_takes_steps_and_held_vcpus_with_it()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        using var debugger = new Debugger(machine);
        machine.Target.Stop();
        machine.Target.Resume([VcpuAction.Step, VcpuAction.Stay]);
        machine.Target.Detach();
        AwaitProgress(machine, 0);
        AwaitProgress(machine, 1);
        Assert.False(machine.Vcpus[0].SingleStep);
        Assert.False(machine.Target.HasReport);
    }

    [Fact]
    public void A_triple_fault_ends_the_machine_where_nobody_debugs()
    {
        using var machine = new ScriptedMachine(s_tripleFault);
        Assert.Equal(Machines.EndReason.TripleFault, machine.Ended());
    }

    [Fact]
    public void A_triple_fault_waits_for_the_debugger_to_have_seen_it()
    {
        using var machine = new ScriptedMachine(s_tripleFault, startStopped: true);
        using var debugger = new Debugger(machine);
        machine.Target.Stop();
        machine.Target.Resume([VcpuAction.Run]);
        Assert.Equal(new DebugStop(0, DebugStopReason.Shutdown), debugger.AwaitReport());
        Assert.False(machine.Target.HasReport);
        machine.Target.Resume([VcpuAction.Run]);
        Assert.Equal(new DebugStop(0, DebugStopReason.Ended, 3), debugger.AwaitReport());
        Assert.Equal(Machines.EndReason.TripleFault, machine.Ended());
    }

    [Fact]
    public void A_machine_that_waits_for_its_debugger_runs_nothing()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2, startStopped: true);
        using (var debugger = new Debugger(machine))
        {
            Assert.Equal(s_requested, machine.Target.Stop());
            Assert.Equal([0, 0], Executed(machine));
        }

        AwaitProgress(machine, 0);
    }

    [Fact]
    public void The_end_lets_held_vcpus_go_and_is_reported_once()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, startStopped: true);
        using var debugger = new Debugger(machine);
        Assert.Equal(s_requested, machine.Target.Stop());
        machine.End(5);
        machine.Target.Finish(6);
        Assert.Equal(new DebugStop(0, DebugStopReason.Ended, 5), debugger.AwaitReport());
        Assert.Throws<InvalidOperationException>(() => machine.Target.Attach(() => { }));
    }

    [Fact]
    public void A_running_machine_is_not_resumed()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop);
        Assert.Throws<InvalidOperationException>(() => machine.Target.Resume([VcpuAction.Run]));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_machine_that_is_paused_and_stopped_runs_once_it_is_neither(bool pausedFirst)
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        using var debugger = new Debugger(machine);
        for (int i = 0; i < 20; i++)
        {
            if (pausedFirst)
            {
                Assert.True(machine.Run.Pause());
            }

            Assert.Equal(s_requested, machine.Target.Stop());
            Assert.True(machine.Run.Pause());
            long[] stopped = Executed(machine);
            if (i % 2 == 0)
            {
                machine.Run.Resume();
                Thread.Yield();
                Assert.Equal(stopped, Executed(machine));
                machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
            }
            else
            {
                machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
                Thread.Yield();
                Assert.Equal(stopped, Executed(machine));
                machine.Run.Resume();
            }

            AwaitProgress(machine, 0);
            AwaitProgress(machine, 1);
        }
    }

    [Fact]
    public void A_machine_that_stands_at_a_breakpoint_can_be_paused()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop);
        using var debugger = new Debugger(machine);
        machine.Target.Stop();
        machine.Vcpus[0].SetBreakpoints([ScriptedMachine.Code + 3]);
        machine.Target.Resume([VcpuAction.Run]);
        debugger.AwaitReport();
        Assert.True(machine.Run.Pause());
        long before = machine.Vcpus[0].Executed;
        machine.Vcpus[0].SetBreakpoints([]);
        machine.Target.Resume([VcpuAction.Step]);
        Assert.False(machine.Target.HasReport);
        machine.Run.Resume();
        Assert.Equal(new DebugStop(0, DebugStopReason.Debug), debugger.AwaitReport());
        Assert.Equal(before + 1, machine.Vcpus[0].Executed);
    }

    [Fact]
    public void A_machine_of_which_one_vcpu_stays_can_be_paused()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        using var debugger = new Debugger(machine);
        machine.Target.Stop();
        long still = machine.Vcpus[1].Executed;
        machine.Target.Resume([VcpuAction.Run, VcpuAction.Stay]);
        AwaitProgress(machine, 0);
        Assert.True(machine.Run.Pause());
        machine.Run.Resume();
        AwaitProgress(machine, 0);
        Assert.Equal(still, machine.Vcpus[1].Executed);
    }

    [Fact]
    public void A_debugger_may_leave_a_paused_machine()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop);
        using var debugger = new Debugger(machine);
        machine.Target.Stop();
        machine.Vcpus[0].SetBreakpoints([0x1234]);
        machine.Run.Pause();
        machine.Target.Detach();
        Assert.Equal(0, machine.Vcpus[0].BreakpointCount);
        machine.Run.Resume();
        AwaitProgress(machine, 0);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_reset_waits_until_the_machine_is_neither_stopped_nor_paused(bool resumedFirst)
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        using var debugger = new Debugger(machine);
        for (int resets = 0; resets < 20; resets++)
        {
            machine.Target.Stop();
            machine.Run.RequestReset();
            machine.Run.Pause();
            if (resumedFirst)
            {
                machine.Run.Resume();
            }
            else
            {
                machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
            }

            Thread.Yield();
            Assert.Equal(resets, machine.Resets);
            if (resumedFirst)
            {
                machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
            }
            else
            {
                machine.Run.Resume();
            }

            SpinUntil(() => machine.Resets == resets + 1);
            AwaitProgress(machine, 1);
        }
    }

    [Fact]
    public void A_vcpu_that_stays_is_reset_with_the_others_and_stays()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2);
        using var debugger = new Debugger(machine);
        AwaitProgress(machine, 1);
        machine.Target.Stop();
        long still = machine.Vcpus[1].Executed;
        machine.Target.Resume([VcpuAction.Run, VcpuAction.Stay]);
        machine.Run.RequestReset();
        SpinUntil(() => machine.Resets == 1);
        AwaitProgress(machine, 0);
        machine.Target.Stop();
        var state = new X86.State.X86State();
        machine.Vcpus[1].Save(state);
        Assert.Equal((still, ScriptedMachine.Code, 0ul), (machine.Vcpus[1].Executed, state.Rip, state.Gpr[0]));
        machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
        AwaitProgress(machine, 1);
    }

    // The processor that shut down is reset before the machine could act on its triple fault.
    [Fact]
    public void A_reset_revives_a_vcpu_that_stays_shut_down()
    {
        using var machine = new ScriptedMachine(s_tripleFault, vcpus: 2, startStopped: true);
        using var debugger = new Debugger(machine);
        machine.Target.Stop();
        machine.Target.Resume([VcpuAction.Run, VcpuAction.Stay]);
        Assert.Equal(new DebugStop(0, DebugStopReason.Shutdown), debugger.AwaitReport());
        machine.Run.RequestReset();
        machine.Target.Resume([VcpuAction.Step, VcpuAction.Stay]);
        Assert.Equal(new DebugStop(0, DebugStopReason.Debug), debugger.AwaitReport());
        Assert.Equal((1, 2), (machine.Resets, machine.Vcpus[0].Executed));
    }

    public enum Held
    {
        AtStart,
        Stopped,
        StoppedAndPaused,
        StoppedWithReset,
        OneStays,
        OneStaysAndPaused,
        AtBreakpoint,
        Left,
    }

    public static TheoryData<Held> AllHeld => [.. Enum.GetValues<Held>()];

    [Theory]
    [MemberData(nameof(AllHeld))]
    public void The_end_comes_however_the_vcpus_are_held(Held held)
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 2, startStopped: held == Held.AtStart);
        using var debugger = new Debugger(machine);
        switch (held)
        {
            case Held.AtStart:
                break;
            case Held.Stopped:
                machine.Target.Stop();
                break;
            case Held.StoppedAndPaused:
                machine.Target.Stop();
                machine.Run.Pause();
                break;
            case Held.StoppedWithReset:
                machine.Target.Stop();
                machine.Run.RequestReset();
                break;
            case Held.OneStays:
                machine.Target.Stop();
                machine.Target.Resume([VcpuAction.Run, VcpuAction.Stay]);
                break;
            case Held.OneStaysAndPaused:
                machine.Target.Stop();
                machine.Target.Resume([VcpuAction.Run, VcpuAction.Stay]);
                machine.Run.Pause();
                break;
            case Held.AtBreakpoint:
                machine.Target.Stop();
                machine.Vcpus[0].SetBreakpoints([ScriptedMachine.Code + 3]);
                machine.Target.Resume([VcpuAction.Run, VcpuAction.Run]);
                SpinUntil(() => machine.Target.HasReport);
                break;
            case Held.Left:
                machine.Target.Detach();
                break;
        }

        machine.End(7);
        Assert.False(machine.Run.HoldAll());
        Assert.False(machine.Run.Pause());
        Assert.Equal(new DebugStop(0, DebugStopReason.Ended, 7), machine.Target.Stop());
        machine.Target.Detach();
    }

    // Three threads that know nothing of each other hold the vCPUs, reset them and let them go; then the machine ends under them.
    [Fact]
    public async Task Pauses_resets_and_stops_at_once_leave_nobody_waiting()
    {
        for (int round = 0; round < 5; round++)
        {
            using var machine = new ScriptedMachine(ScriptedMachine.Loop, vcpus: 3);
            using var debugger = new Debugger(machine);
            int rounds = 0;
            bool ended = false;
            Task[] tasks =
            [
                Repeat(() =>
                {
                    if (machine.Run.Pause())
                    {
                        (long[] paused, int resets) = (Executed(machine), machine.Resets);
                        Thread.Yield();
                        Assert.Equal(paused, Executed(machine));
                        Assert.Equal(resets, machine.Resets);
                        machine.Run.Resume();
                    }
                }),
                Repeat(machine.Run.RequestReset),
                Repeat(() =>
                {
                    if (machine.Target.Stop() is { Reason: not DebugStopReason.Ended })
                    {
                        (long[] stopped, int resets) = (Executed(machine), machine.Resets);
                        Thread.Yield();
                        Assert.Equal(stopped, Executed(machine));
                        Assert.Equal(resets, machine.Resets);
                        machine.Target.Resume(Actions(rounds));
                        Interlocked.Increment(ref rounds);
                    }
                }),
            ];
            SpinUntil(() => Volatile.Read(ref rounds) > 300);
            machine.Run.End(new Machines.MachineEnd(Machines.EndReason.Stopped));
            machine.Ended();
            Volatile.Write(ref ended, true);
            await Task.WhenAll(tasks).WaitAsync(s_patience, TestContext.Current.CancellationToken);
            Assert.Equal(DebugStopReason.Ended, machine.Target.Stop()?.Reason);

            Task Repeat(Action action) => Task.Run(
                () =>
                {
                    while (!Volatile.Read(ref ended))
                    {
                        action();
                    }
                },
                TestContext.Current.CancellationToken);
        }
    }

    private static VcpuAction[] Actions(int round) => (round % 4) switch
    {
        0 => [VcpuAction.Run, VcpuAction.Run, VcpuAction.Run],
        1 => [VcpuAction.Run, VcpuAction.Stay, VcpuAction.Step],
        2 => [VcpuAction.Step, VcpuAction.Step, VcpuAction.Step],
        _ => [VcpuAction.Stay, VcpuAction.Stay, VcpuAction.Run],
    };

    private static long[] Executed(ScriptedMachine machine) => [.. machine.Vcpus.Select(v => v.Executed)];

    private static void AwaitProgress(ScriptedMachine machine, int vcpu)
    {
        long before = machine.Vcpus[vcpu].Executed;
        SpinUntil(() => machine.Vcpus[vcpu].Executed > before);
    }

    private static void SpinUntil(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, s_patience));

    /// <summary>Attached to a machine, which it leaves at the end.</summary>
    private sealed class Debugger : IDisposable
    {
        private readonly SemaphoreSlim _reports = new(0);
        private readonly ScriptedMachine _machine;

        public Debugger(ScriptedMachine machine)
        {
            _machine = machine;
            machine.Target.Attach(() => _reports.Release());
        }

        /// <summary>Waits for the next report and stops the machine as it asks.</summary>
        public DebugStop AwaitReport()
        {
            do
            {
                Assert.True(_reports.Wait(s_patience), "Nothing is reported.");
            }
            while (!_machine.Target.HasReport);

            return _machine.Target.Stop()!.Value;
        }

        public void Dispose() => _machine.Target.Detach();
    }
}
