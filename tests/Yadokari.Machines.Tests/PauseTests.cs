using Yadokari.Core.Devices;
using Yadokari.Core.Engines;
using Yadokari.Devices.Power;
using Yadokari.Devices.Serial;

namespace Yadokari.Machines.Tests;

public sealed class PauseTests : IDisposable
{
    private const ushort LineStatus = PcLayout.Com1 + 5;
    private const ushort PowerStatus = PcLayout.PowerManagement + AcpiPowerManagement.Pm1EventOffset + 1;
    private const byte PowerButton = 1;

    private readonly string _kernel = Path.GetTempFileName();
    private readonly ManualClock _clock = new();
    private readonly Room _room = new();
    private int _steps;

    public PauseTests()
    {
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, null, (0x1000, SyntheticKernel.Preferred, [0xF4], 1));
        File.WriteAllBytes(_kernel, SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length));
    }

    private PcConfig Config => new() { Memory = 32 << 20, Kernel = _kernel, Console = _room, Clock = _clock, Cpus = 2, VirtioConsole = false };

    public void Dispose() => File.Delete(_kernel);

    [Fact]
    public async Task No_vcpu_runs_until_it_is_resumed()
    {
        using var machine = new Machine(Config, new FakeEngine(Step));
        Task<MachineEnd> run = Start(machine);
        WaitForSteps();
        for (int i = 0; i < 100; i++)
        {
            machine.Pause();
            Assert.True(machine.IsPaused);
            int steps = Volatile.Read(ref _steps);
            Thread.Yield();
            Assert.Equal(steps, Volatile.Read(ref _steps));
            machine.Resume();
            Assert.False(machine.IsPaused);
            WaitForSteps();
        }

        machine.Stop();
        Assert.Equal(EndReason.Stopped, (await run).Reason);
    }

    [Fact]
    public async Task One_paused_before_its_run_starts_when_it_is_resumed()
    {
        using var machine = new Machine(Config, new FakeEngine(Step));
        machine.Pause();
        machine.Pause();
        Task<MachineEnd> run = Start(machine);
        await Task.Yield();
        Assert.Equal(0, Volatile.Read(ref _steps));
        machine.Resume();
        machine.Resume();
        WaitForSteps();
        machine.Stop();
        await run;
    }

    [Fact]
    public async Task One_that_is_paused_can_be_stopped()
    {
        using var machine = new Machine(Config, new FakeEngine(Step));
        Task<MachineEnd> run = Start(machine);
        WaitForSteps();
        machine.Pause();
        machine.Stop();
        Assert.Equal(EndReason.Stopped, (await run).Reason);
        machine.Pause();
        machine.Resume();
    }

    [Fact]
    public async Task The_clock_stands_meanwhile()
    {
        using var machine = new Machine(Config with { Cpus = 1 }, new FakeEngine(Step));
        Task<MachineEnd> run = Start(machine);
        WaitForSteps();
        ulong before = 0;
        ulong after = 0;
        machine.Pause();
        Inside(machine, vcpu => before = Timer(vcpu));
        _clock.Advance(TimeSpan.FromSeconds(3));
        Inside(machine, vcpu => after = Timer(vcpu));
        Assert.Equal(before, after);
        machine.Resume();
        _clock.Advance(TimeSpan.FromSeconds(1));
        machine.Pause();
        Inside(machine, vcpu => after = Timer(vcpu));
        Assert.InRange(after - before, 3_579_000u, 3_580_000u);
        machine.Stop();
        await run;
    }

    [Fact]
    public async Task What_comes_from_outside_meanwhile_comes_afterwards()
    {
        using var machine = new Machine(Config with { Cpus = 1 }, new FakeEngine(Step));
        Task<MachineEnd> run = Start(machine);
        WaitForSteps();
        machine.Pause();
        Inside(machine, vcpu =>
        {
            vcpu.Out(PcLayout.Com1 + 4, 0x0B);
            _room.HasRoom = false;
            vcpu.Out(PcLayout.Com1, (byte)'a');
        });
        Assert.Equal(3, machine.Type("abc"u8));
        machine.PowerButton();
        _room.MakeRoom();
        byte[] seen = new byte[2];
        Inside(machine, vcpu => seen = [vcpu.In(LineStatus), vcpu.In(PowerStatus)]);
        Assert.Equal([0, 0], seen);
        machine.Resume();
        machine.Pause();
        Inside(machine, vcpu => seen = [vcpu.In(LineStatus), vcpu.In(PowerStatus)]);
        Assert.Equal([0x61, PowerButton], seen);
        machine.Stop();
        await run;
    }

    [Fact]
    public async Task A_reset_that_was_asked_for_is_done_afterwards()
    {
        using var asks = new ManualResetEventSlim();
        var engine = new FakeEngine(vcpu =>
        {
            if (vcpu.Id == 0 && asks.IsSet)
            {
                asks.Reset();
                vcpu.Out(PcLayout.ResetControl, 6);
            }

            return Step(vcpu);
        });
        using var machine = new Machine(Config, engine);
        Task<MachineEnd> run = Start(machine);
        WaitForSteps();
        for (int resets = 1; resets <= 20; resets++)
        {
            asks.Set();
            machine.Pause();
            int before = engine.Resets;
            Thread.Yield();
            Assert.Equal(before, engine.Resets);
            machine.Resume();
            SpinUntil(() => engine.Resets == resets);
        }

        machine.Stop();
        await run;
    }

    // The devices of the board with most of them: a new one is tried by being added.
    [Fact]
    public void Devices_are_paused_resumed_and_reset_in_any_order()
    {
        using var machine = new Machine(Config with { VirtioConsole = true, Screen = true, Devices = [new TestDeviceSpec(TestDevice.DebugExit), new TestDeviceSpec(TestDevice.DebugConsole), new TestDeviceSpec(TestDevice.TestIrq), new TestDeviceSpec(TestDevice.TestMemory)] }, new FakeEngine(Step));
        DeviceTree devices = machine.Board.Devices;
        Assert.InRange(devices.Count, 25, 100);
        Assert.Equal(devices.Count, devices.Select(d => d.Name).Distinct().Count());
        foreach (IDevice device in devices)
        {
            Assert.Matches("^[a-z0-9_-]+$", device.Name);
            device.Reset();
            device.Pause();
            device.Reset();
            device.Pause();
            device.Resume();
            device.Resume();
            device.Reset();
        }

        devices.Pause();
        devices.Resume();
        devices.Reset();
    }

    private static Task<MachineEnd> Start(Machine machine) => Task.Run(machine.Run, TestContext.Current.CancellationToken);

    private static ulong Timer(FakeVcpu vcpu)
    {
        byte[] data = new byte[4];
        vcpu.Host.PioRead(0, PcLayout.PowerManagement + AcpiPowerManagement.TimerOffset, data);
        return BitConverter.ToUInt32(data);
    }

    // A paused vCPU's registers and ports, as a debugger sees them.
    private static void Inside(Machine machine, Action<FakeVcpu> act) => act((FakeVcpu)machine.Vcpus[0]);

    private static void SpinUntil(Func<bool> condition)
    {
        while (!condition())
        {
            TestContext.Current.CancellationToken.ThrowIfCancellationRequested();
            Thread.Yield();
        }
    }

    private VmExit Step(FakeVcpu vcpu)
    {
        Interlocked.Increment(ref _steps);
        return VmExit.Kicked;
    }

    private void WaitForSteps()
    {
        int before = Volatile.Read(ref _steps);
        SpinUntil(() => Volatile.Read(ref _steps) > before + 10);
    }

    private sealed class Room : IConsole
    {
        public event Action? Ready;

        public bool HasRoom { get; set; } = true;

        public void Write(ReadOnlySpan<byte> bytes)
        {
        }

        public void MakeRoom()
        {
            HasRoom = true;
            Ready?.Invoke();
        }
    }
}
