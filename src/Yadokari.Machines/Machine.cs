using Yadokari.Boards;
using Yadokari.Boards.Pc;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Buses;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Memory;
using Yadokari.Core.Time;
using Yadokari.Devices.Display;
using Yadokari.Linux;
using Yadokari.Machines.Vcpus;
using Yadokari.X86;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Machines;

/// <summary>
/// A virtual machine: vCPUs under an engine, memory, and a board of devices. Made, run once to its end, disposed of: before its clock or after. Then every
/// member throws <see cref="ObjectDisposedException"/>.
/// </summary>
public sealed class Machine : IDisposable
{
    private const long ApicTimerHz = 1_000_000_000;

    private readonly PcConfig _config;
    private readonly DisposableStack _parts = new(); // In the order in which they were made.
    private readonly CallGate _calls = new();
    private readonly GuestMemory _memory;
    private readonly MachineClock _clock;
    private readonly PcVcpuHost _host = new();
    private readonly IVm _vm;
    private readonly VcpuThread[] _threads;
    private readonly VcpuRun _run;
    private readonly PcBoard _board;
    private readonly Lock _pausing = new(); // Outermost: held while the machine is paused or resumed, and guards the next.
    private bool _paused;
    private BootReport _boot;

    /// <summary>Builds the machine and loads the kernel: what a user may have got wrong shows here, before any guest runs.</summary>
    /// <param name="config">What it is built of.</param>
    /// <param name="engine">What runs its vCPUs.</param>
    /// <exception cref="UserErrorException">Something in the configuration can't be used.</exception>
    public Machine(PcConfig config, IEngine engine)
    {
        config.CheckToBuild();
        _config = config;
        using var unfinished = new DisposableStack();
        unfinished.Push(_parts); // What has been made goes again if anything of the rest can't be.
        PcResources resources = _parts.Push(PcResources.Open(config));
        _memory = _parts.Push(GuestRam.Create(PcBoard.RamRegions(config, resources)));
        _clock = _parts.Push(new MachineClock(config.Clock));
        var cpu = CpuModel.FromHost(new CpuidConfiguration(config.Cpus, (long)engine.ClockFrequency, ApicTimerHz));
        _vm = _parts.Push(engine.Create(new VmSpec(_memory, cpu, config.Cpus)));
        _threads = new VcpuThread[config.Cpus];
        _run = new VcpuRun(_host, _threads, Restart);
        for (int i = 0; i < config.Cpus; i++)
        {
            _threads[i] = new VcpuThread(_vm.CreateX86Vcpu(i, _host), _run);
            _parts.Defer(_threads[i].Close);
        }

        _host.WithholdsInterrupts = vcpu => _threads[vcpu].Vcpu.SingleStep;
        _board = _parts.Push(new PcBoard(config, resources, _memory, _clock, _host, _vm, _threads, new BoardMachine(this)));
        resources.OnFailure(_run.Fail);
        _clock.Resumed += OnHostResumed;
        _parts.Defer(() => _clock.Resumed -= OnHostResumed);
        _clock.Failed += _run.Fail;
        _parts.Defer(() => _clock.Failed -= _run.Fail);
        config.Console.Ready += OnConsoleReady;
        _parts.Defer(() => config.Console.Ready -= OnConsoleReady);
        _boot = PowerOn();
        unfinished.Release();
    }

    /// <summary>The guest was reset and starts again. On a vCPU's thread, all of which wait: it must not wait for the machine.</summary>
    public event Action? Restarted;

    /// <summary>Guest RAM.</summary>
    public GuestMemory Memory => Undisposed(_memory);

    /// <summary>The keyboard, if there is a screen too.</summary>
    public KeyboardInput Keyboard => Undisposed(_board.Screen.Keyboard);

    /// <summary>The vCPUs, for debuggers: to be touched only while <see cref="RunControl"/> holds them all, or after <see cref="Run"/>.</summary>
    public IReadOnlyList<IX86Vcpu> Vcpus => Undisposed<IX86Vcpu[]>([.. _threads.Select(t => t.Vcpu)]);

    /// <summary>What vCPUs ask of this machine, for debuggers.</summary>
    public IX86VcpuHost Host => Undisposed(_host);

    /// <summary>The board, with its devices.</summary>
    public PcBoard Board => Undisposed(_board);

    /// <summary>The buses, with their counters.</summary>
    public IReadOnlyList<Bus> Buses => Undisposed(_board.Buses);

    /// <summary>How the kernel was loaded.</summary>
    public BootReport Boot => Undisposed(_boot);

    /// <summary>Whether it is paused. Any thread.</summary>
    public bool IsPaused => Undisposed(Volatile.Read(ref _paused));

    /// <summary>How a debugger stops the vCPUs. Independent of <see cref="Pause"/>: a vCPU runs when neither holds it.</summary>
    public IRunControl RunControl => Undisposed(_run);

    /// <summary>What boot, engine, vCPUs and devices did, in the order to show it.</summary>
    public IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics
    {
        get
        {
            using CallGate.Scope call = _calls.Enter(this);
            return MachineStatistics.Of(_boot, _vm, _threads, _board.Buses);
        }
    }

    /// <summary>
    /// Writes input to the console. Any thread; does not block. Returns how many bytes the input buffer had room for.
    /// </summary>
    public int Type(ReadOnlySpan<byte> bytes)
    {
        using CallGate.Scope call = _calls.Enter(this);
        return _board.Console.Type(bytes);
    }

    /// <summary>Tells the guest of the size of its console, in characters, if it can know. Any thread.</summary>
    public void ResizeConsole(int rows, int columns)
    {
        using CallGate.Scope call = _calls.Enter(this);
        _board.Console.Resize(rows, columns);
    }

    /// <summary>Looks at the screen. Any thread; as <see cref="VgaText.Look"/>.</summary>
    /// <param name="frame">Gets what is shown.</param>
    /// <returns>False where there is none.</returns>
    public bool Look(TextFrame frame)
    {
        using CallGate.Scope call = _calls.Enter(this);
        return _board.Screen.Look(frame);
    }

    /// <summary>Calls a device of the board, which is not disposed of meanwhile. Any thread, as far as what is called allows.</summary>
    /// <typeparam name="T">The device's class, of which the board has one.</typeparam>
    /// <typeparam name="TResult">What the call returns.</typeparam>
    /// <param name="call">Gets the device; must not keep it.</param>
    /// <exception cref="InvalidOperationException">The board has no such device.</exception>
    public TResult Use<T, TResult>(Func<T, TResult> call)
        where T : class
    {
        using CallGate.Scope scope = _calls.Enter(this);
        return call(_board.Find<T>() ?? throw new InvalidOperationException($"The board has no {typeof(T).Name}."));
    }

    /// <summary>
    /// Runs the guest to its end; the calling thread waits. Once only. Throws what a thread of the machine met and nothing expected, and what
    /// <see cref="Fail"/> was given.
    /// </summary>
    public MachineEnd Run()
    {
        using CallGate.Scope call = _calls.Enter(this);
        return _run.ToEnd() with { Panic = _board.Console.Panic };
    }

    /// <summary>
    /// Pauses the machine: when this returns, no vCPU runs guest code, no request of a device is in flight, and the guest's clocks stand. Any thread but a
    /// vCPU's or the clock's, also before <see cref="Run"/>; nothing where it is paused already.
    /// </summary>
    /// <returns>False where its run has ended, or does just now.</returns>
    public bool Pause()
    {
        using CallGate.Scope call = _calls.Enter(this);
        lock (_pausing)
        {
            if (_paused)
            {
                return true;
            }

            if (!_run.Pause())
            {
                return false;
            }

            _clock.Stop();
            _vm.Clock.Stop();
            _board.Devices.Pause();
            Volatile.Write(ref _paused, true);
            return true;
        }
    }

    /// <summary>Goes on after <see cref="Pause"/>: the guest's clocks go on from where they stood. As <see cref="Pause"/>; nothing where it is not paused.</summary>
    public void Resume()
    {
        using CallGate.Scope call = _calls.Enter(this);
        lock (_pausing)
        {
            if (_paused)
            {
                Volatile.Write(ref _paused, false);
                _vm.Clock.Start();
                _clock.Start();
                _host.PvClock?.Resume();
                _board.Devices.Resume();
                _run.Resume();
            }
        }
    }

    /// <summary>Ends the run as if the power were cut. Any thread, also before <see cref="Run"/>; returns at once.</summary>
    public void Stop()
    {
        using CallGate.Scope call = _calls.Enter(this);
        _run.End(new MachineEnd(EndReason.Stopped));
    }

    /// <summary>
    /// Ends the run by an exception, which <see cref="Run"/> throws: for threads beside the machine's own, without which it is of no use. Any
    /// thread, also before <see cref="Run"/>; returns at once. Nothing once disposed of.
    /// </summary>
    public void Fail(Exception error) => _run.Fail(error);

    /// <summary>Presses the power button. Any thread. While the machine is paused, the press takes effect at resume.</summary>
    public void PowerButton()
    {
        using CallGate.Scope call = _calls.Enter(this);
        _board.PressPowerButton();
    }

    /// <summary>
    /// Gives everything back, after it has ended the run and waited for calls in flight: those of any member, of alarms, of queues' workers and
    /// of networks' threads. Any thread, but within no call of the machine, such as that of a console.
    /// </summary>
    public void Dispose()
    {
        if (_calls.TryEnter())
        {
            _run.End(new MachineEnd(EndReason.Stopped));
            _calls.Leave();
        }

        if (_calls.TryClose())
        {
            _parts.Dispose();
        }
    }

    private T Undisposed<T>(T value)
    {
        using CallGate.Scope call = _calls.Enter(this);
        return value;
    }

    // The counter first: the clock in guest memory says what it was when. One that is paused goes on from where it stood, whatever the host did.
    private void OnHostResumed()
    {
        lock (_pausing)
        {
            if (!_paused)
            {
                _vm.Clock.CatchUp();
                _host.PvClock?.Resume();
            }
        }
    }

    // The console is not owned: it is used after the machine is disposed of.
    private void OnConsoleReady()
    {
        if (_calls.TryEnter())
        {
            _board.Console.ResumeOutput();
            _calls.Leave();
        }
    }

    // With all vCPUs parked.
    private void Restart()
    {
        _board.Devices.Reset();
        _vm.Clock.Set(0);
        _boot = PowerOn();

        // Code that was translated before may be overwritten by what was loaded now.
        foreach (MemoryRegion region in _memory.Regions)
        {
            _vm.MemoryWritten(region.Gpa, region.Length);
        }

        Restarted?.Invoke();
    }

    private BootReport PowerOn()
    {
        X86State state = _threads[0].CopyOfReset();
        BootReport report = _board.Load(state);
        for (int i = 0; i < _threads.Length; i++)
        {
            _threads[i].PowerOn(i == 0 ? state : null);
        }

        return report;
    }

    /// <summary>What the devices ask.</summary>
    private sealed class BoardMachine(Machine machine) : IBoardMachine
    {
        public long Halts => machine._threads.Sum(t => t.Halts);

        public void PowerOff() => machine._run.End(new MachineEnd(EndReason.PowerOff));

        public void RequestReset()
        {
            if (machine._config.RestartOnReset && machine._board.Console.Panic is null)
            {
                machine._run.RequestReset();
            }
            else
            {
                machine._run.End(new MachineEnd(EndReason.Reset));
            }
        }

        public void Panicked() => machine._run.End(new MachineEnd(EndReason.Panic));

        public void DebugExit(uint code) => machine._run.End(new MachineEnd(EndReason.DebugExit) { Code = code });

        public void Fail(Exception error) => machine._run.Fail(error);
    }
}
