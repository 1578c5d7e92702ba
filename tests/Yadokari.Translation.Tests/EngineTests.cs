using System.Diagnostics;
using Yadokari.Core;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.X86;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>The contract of engines: what a machine is made of, its clock, and what a vCPU does that does not execute instructions.</summary>
public sealed class EngineTests : IDisposable
{
    private const ulong Code = 0x5000;
    private const ulong Handlers = 0x6000;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 1 << 20)]);
    private readonly TranslationEngine _engine = new() { CodeCacheBytes = 1 << 20 };

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void A_machine_that_the_engine_cannot_make_is_refused_with_what_is_wrong()
    {
        CpuModel model = HostMachine.Model(_engine);
        long hz = (long)_engine.ClockFrequency;
        (VmSpec Spec, string[] Says)[] wrong =
        [
            (new VmSpec(_memory, new OtherModel(), 1), ["arm64", "x86-64"]),
            (new VmSpec(_memory, model, 1, InterruptMode.Split), ["Split", "Emulated"]),
            (new VmSpec(_memory, model, 1, InterruptMode.Engine), ["Engine", "Emulated"]),
            (new VmSpec(_memory, model, 2), ["1 vCPUs", "has 2"]),
            (new VmSpec(_memory, CpuModel.FromHost(new CpuidConfiguration(1, hz + 1, hz)), 1), [$"{hz} Hz", $"{hz + 1}"]),
            (new VmSpec(_memory, Changed((leaf, answer) => leaf == 7 ? answer with { Ebx = uint.MaxValue } : answer, xcr0: 0xE7), 1), ["lacks"]),
            (new VmSpec(_memory, Changed((leaf, answer) => leaf == 0 ? OfOtherMaker(answer) : answer), 1), ["Intel", "Amd"]),
        ];
        foreach ((VmSpec spec, string[] says) in wrong)
        {
            string message = Assert.Throws<UserErrorException>(() => _engine.Create(spec)).Message;
            Assert.All(says, part => Assert.Contains(part, message, StringComparison.Ordinal));
        }
    }

    [Fact]
    public void What_the_cpu_model_hides_the_guest_does_not_have()
    {
        const uint Popcnt = 1 << 23;
        CpuModel model = Changed((leaf, answer) => leaf == 1 ? answer with { Ecx = answer.Ecx & ~Popcnt } : answer);
        Assert.False(model.Cpuid.Has("POPCNT"));
        using var m = new EmulationMachine(64, model);
        m.Cpu.Rax = 1;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0xA2));
        Assert.Equal(0ul, m.Cpu.Rcx & Popcnt);
        m.Prepare("F30FB8C1F4", Handlers, 0x20); // POPCNT EAX, ECX.
        for (int vector = 0; vector < 0x20; vector++)
        {
            m.SetGate(vector, Handlers + (ulong)vector);
        }

        InlineTests.RunToHalt(m);
        Assert.Equal(Handlers + (ulong)Vector.InvalidOpcode + 1, m.Cpu.Rip);
    }

    [Fact]
    public void A_vcpu_has_a_number_of_its_own_and_a_host_of_its_architecture()
    {
        using IVm vm = _engine.Create(_memory, 2);
        Assert.Equal(1, vm.CreateX86Vcpu(1, new WildHost(1)).Id);
        Assert.Throws<ArgumentException>(() => vm.CreateVcpu(1, new WildHost(1)));
        Assert.Throws<ArgumentException>(() => vm.CreateVcpu(2, new WildHost(1)));
        Assert.Throws<ArgumentException>(() => vm.CreateVcpu(-1, new WildHost(1)));
        Assert.Contains(nameof(NoX86Host), Assert.Throws<ArgumentException>(() => vm.CreateVcpu(0, new NoX86Host())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_clock_that_stopped_goes_on_from_where_it_stood()
    {
        using var m = new EmulationMachine(64);
        IGuestClock clock = m.Vm.Clock;
        Assert.Equal(_engine.ClockFrequency, clock.Frequency);
        clock.Stop();
        clock.Stop();
        ulong stood = clock.Read();
        Assert.Equal(stood, m.Cpu.ReadTsc());
        Thread.Sleep(100); // For so long the clock has to stand.
        Assert.Equal((stood, stood), (clock.Read(), m.Cpu.ReadTsc()));
        Assert.Throws<InvalidOperationException>(() => m.Cpu.Run());
        long start = Stopwatch.GetTimestamp();
        clock.Start();
        clock.Start();
        ulong gone = m.Cpu.ReadTsc() - stood;
        TimeSpan most = Stopwatch.GetElapsedTime(start) + TimeSpan.FromMilliseconds(1);
        Assert.InRange(gone, 0ul, (ulong)(most.TotalSeconds * clock.Frequency));
        Assert.Equal(0, m.TscChanges);
    }

    [Fact]
    public void A_clock_that_is_set_takes_the_counters_along_and_tells_of_it()
    {
        using var m = new EmulationMachine(64);
        (m.Cpu.Rcx, m.Cpu.Rdx, m.Cpu.Rax) = (X86.Msrs.MsrIndex.TscAdjust, 0, 1000);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x30));
        Assert.Equal(1, m.TscChanges);
        m.Vm.Clock.Stop();
        m.Vm.Clock.Set(1ul << 40);
        Assert.Equal(2, m.TscChanges);
        Assert.Equal((1ul << 40, (1ul << 40) + 1000), (m.Vm.Clock.Read(), m.Cpu.ReadTsc()));
    }

    [Fact]
    public void A_clock_does_not_stop_under_a_vcpu_that_runs()
    {
        using var m = new EmulationMachine(32);
        m.Prepare("E680F4", Handlers, 0x20); // OUT 80h, AL; HLT.
        Exception? refused = null;
        m.OnPortWrite = _ => refused = Record.Exception(m.Vm.Clock.Stop);
        InlineTests.RunToHalt(m);
        Assert.IsType<InvalidOperationException>(refused);
        ulong then = m.Vm.Clock.Read();
        Assert.True(m.Vm.Clock.Read() > then);
    }

    [Theory]
    [InlineData(13, false, 0x1234u)]
    [InlineData(6, false, null)]
    [InlineData(0x40, true, null)]
    public void A_pending_event_is_delivered_before_anything_is_executed(int vector, bool isInterrupt, uint? errorCode)
    {
        using EmulationMachine m = Halting();
        X86State state = Saved(m);
        state.PendingEvent = new PendingEvent((byte)vector, isInterrupt, errorCode);
        m.Cpu.Load(state);
        Assert.Equal(state.PendingEvent, Saved(m).PendingEvent);
        InlineTests.RunToHalt(m);
        Assert.Equal(Handlers + (ulong)vector + 1, m.Cpu.Rip);
        ulong frame = m.Cpu.Rsp;
        Assert.Equal(errorCode ?? Code, m[frame] & uint.MaxValue);
        Assert.Equal(Code, m[errorCode == null ? frame : frame + 4] & uint.MaxValue);
        Assert.Null(Saved(m).PendingEvent);
    }

    [Fact]
    public void A_pending_exception_is_caught_where_exceptions_are()
    {
        using EmulationMachine m = Halting();
        m.Cpu.CatchExceptions = true;
        X86State state = Saved(m);
        state.PendingEvent = new PendingEvent(13, IsInterrupt: false, 5);
        m.Cpu.Load(state);
        Assert.Equal(VmExit.Exception, m.Cpu.Run());
        Assert.Equal(new CaughtException(13, 5, Software: false), m.Cpu.Caught);
        Assert.Equal(Code, m.Cpu.Rip);
    }

    [Theory]
    [InlineData(ActivityState.Halted, false, VmExit.HaltedWithInterruptsDisabled)]
    [InlineData(ActivityState.Halted, true, VmExit.Halted)]
    [InlineData(ActivityState.Shutdown, true, VmExit.Shutdown)]
    [InlineData(ActivityState.WaitForSipi, true, VmExit.WaitsForStart)]
    public void A_vcpu_that_is_not_active_executes_nothing(ActivityState activity, bool enabled, VmExit exit)
    {
        using EmulationMachine m = Halting();
        Load(m, activity, enabled);
        Assert.Equal((exit, Code), (m.Cpu.Run(), m.Cpu.Rip));
        m.Cpu.Kick();
        Assert.Equal((VmExit.Kicked, Code), (m.Cpu.Run(), m.Cpu.Rip));
        Assert.Equal((exit, activity), (m.Cpu.Run(), Saved(m).Activity));
    }

    [Fact]
    public void An_interrupt_ends_a_halt_where_interrupts_are_enabled()
    {
        using EmulationMachine m = Halting();
        m.Waiting.Enqueue(0x40);
        Load(m, ActivityState.Halted, enabled: false);
        Assert.Equal((VmExit.HaltedWithInterruptsDisabled, Code), (m.Cpu.Run(), m.Cpu.Rip));
        Load(m, ActivityState.Halted, enabled: true);
        Assert.Equal((VmExit.HaltedWithInterruptsDisabled, Handlers + 0x41), (m.Cpu.Run(), m.Cpu.Rip));
    }

    [Fact]
    public void An_nmi_ends_any_halt()
    {
        using EmulationMachine m = Halting();
        Load(m, ActivityState.Halted, enabled: false);
        m.Cpu.RaiseNmi();
        Assert.Equal((VmExit.HaltedWithInterruptsDisabled, Handlers + 3), (m.Cpu.Run(), m.Cpu.Rip));
    }

    [Fact]
    public void A_debuggers_step_ends_a_halt()
    {
        using EmulationMachine m = Halting();
        Load(m, ActivityState.Halted, enabled: false);
        m.Cpu.SingleStep = true;
        Assert.Equal((VmExit.Debug, Code + 1), (m.Cpu.Run(), m.Cpu.Rip));
    }

    [Fact]
    public void A_breakpoint_is_met_once_each_time_it_is_reached()
    {
        using EmulationMachine m = Halting();
        m.Cpu.SetBreakpoints([Code, Code + 1]);
        for (int time = 0; time < 2; time++)
        {
            // Also at the first instruction, as after a reset; and a kick does not count for an instruction.
            Load(m, ActivityState.Active, enabled: false);
            Assert.Equal((VmExit.Debug, Code), (m.Cpu.Run(), m.Cpu.Rip));
            m.Cpu.Kick();
            Assert.Equal((VmExit.Kicked, Code), (m.Cpu.Run(), m.Cpu.Rip));
            Assert.Equal((VmExit.Debug, Code + 1), (m.Cpu.Run(), m.Cpu.Rip));
            Assert.Equal((VmExit.HaltedWithInterruptsDisabled, Code + 2), (m.Cpu.Run(), m.Cpu.Rip));
        }
    }

    [Fact]
    public void A_kick_before_a_debuggers_step_does_not_make_it_two()
    {
        using EmulationMachine m = Halting();
        Load(m, ActivityState.Active, enabled: false);
        m.Cpu.SingleStep = true;
        m.Cpu.Kick();
        Assert.Equal((VmExit.Kicked, Code), (m.Cpu.Run(), m.Cpu.Rip));
        Assert.Equal((VmExit.Debug, Code + 1), (m.Cpu.Run(), m.Cpu.Rip));
    }

    // NOP; HLT, in 32-bit code with a HLT for each vector.
    private static EmulationMachine Halting()
    {
        var m = new EmulationMachine(32);
        m.Prepare("90F4", Handlers, 0x80);
        return m;
    }

    private static void Load(EmulationMachine m, ActivityState activity, bool enabled)
    {
        X86State state = Saved(m);
        (state.Activity, state.Rip, state.Rflags) = (activity, Code, enabled ? 0x202u : 2u);
        m.Cpu.Load(state);
    }

    private static X86State Saved(EmulationMachine m)
    {
        var state = new X86State();
        m.Cpu.Save(state);
        return state;
    }

    private CpuModel Changed(Func<uint, CpuidResult, CpuidResult> change, ulong xcr0 = 7)
    {
        long hz = (long)_engine.ClockFrequency;
        return new CpuModel(new CpuidModel((leaf, subleaf) => change(leaf, CpuidModel.QueryHost(leaf, subleaf)), xcr0 & HostXsave.Mask, new CpuidConfiguration(1, hz, hz)));
    }

    private static CpuidResult OfOtherMaker(CpuidResult answer) => answer.Ebx == 0x68747541
        ? answer with { Ebx = 0x756E6547, Edx = 0x49656E69, Ecx = 0x6C65746E }
        : answer with { Ebx = 0x68747541, Edx = 0x69746E65, Ecx = 0x444D4163 };

    private sealed class OtherModel : ICpuModel
    {
        public string Architecture => "arm64";
    }

    private sealed class NoX86Host : IVcpuHost
    {
        public void MmioRead(int vcpu, ulong gpa, Span<byte> data) => data.Clear();

        public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
        {
        }

        public bool HasInterrupt(int vcpu) => false;
    }
}
