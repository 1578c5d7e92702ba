using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Yadokari.Boards.Pc;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Devices.Display;
using Yadokari.Devices.Serial;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.DefaultGuest;
using Yadokari.Host.Logs;
using Yadokari.Linux;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>One <c>yado run</c>, from checked options to an exit code.</summary>
internal sealed class RunSession : IMonitor, IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly IGuestConsole _console;
    private readonly OutputFile? _traceFile;
    private readonly LineWriter? _trace;
    private readonly bool _stats;
    private readonly bool _logsJson;
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _over = new(); // The run has ended.
    private readonly PosixSignalRegistration? _size;
    private IGuestMachine? _machine; // Guarded by _lock.
    private (int Rows, int Columns)? _terminalSize; // Guarded by _lock: of the terminal that the console is on.
    private bool _paused; // Guarded by _lock.
    private int? _endCode; // Guarded by _lock: set once somebody outside the guest ends the run.
    private string? _farewell;

    private RunSession(
        RunOptions options, OutputFile? consoleFile, OutputFile? traceFile, Func<IGuestConsole, IMonitor, IGuestConsole>? name)
    {
        _stats = options.Stats;
        _logsJson = options.LogJson;
        Log = new LineLogger(options.LogLevel, options.LogJson, StandardStreams.Error, () => _console?.LineEnd ?? "\n", TimeProvider.System);
        _traceFile = traceFile;
        _trace = traceFile is null ? null : new LineWriter(traceFile);
        IGuestConsole console = options.Console switch
        {
            "none" => new SilentConsole(),
            "stdio" => new StdioConsole(Type, End, Fail),
            "vga" => new VgaConsole(Look, Press, End, Fail),
            _ => new FileConsole(consoleFile!, Fail),
        };
        _size = options.HasVirtioConsole && options.Console == "stdio" ? PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => LookAtSize()) : null;
        _console = name?.Invoke(console, this) ?? console;
    }

    /// <inheritdoc/>
    public RunEvents Events { get; } = new();

    /// <inheritdoc/>
    public ILogger Log { get; }

    /// <inheritdoc/>
    public IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics
    {
        get
        {
            lock (_lock)
            {
                return _machine is { } machine ? [.. machine.Statistics] : [];
            }
        }
    }

    /// <summary>Runs a PC with what the options name, or the default guest.</summary>
    /// <param name="options">What it is made of.</param>
    /// <param name="work">Shows how the default guest is made, if it has to be.</param>
    /// <param name="name">For a machine with a name: makes its console of the one that it would have without, and takes what controls it.</param>
    /// <exception cref="UserErrorException">Something that the user named can't be used; nothing has run.</exception>
    /// <returns>The exit code; see <see cref="ExitCodes"/>.</returns>
    public static int Run(RunOptions options, ILongWork work, Func<IGuestConsole, IMonitor, IGuestConsole>? name = null)
    {
        // The default guest takes its time to be made: what is wrong with the rest is said before.
        Engines.Create(options.Engine, default);
        if (options.Initrd is { } own)
        {
            Initrd.Open(own).Dispose();
        }

        options.Check();
        string? kernel = options.Kernel;
        string? initrd = options.Initrd;
        if (kernel is null && options.Firmware is null)
        {
            if (options.IsDefaultGuest)
            {
                GuestMaker.CheckMemory(options);
            }

            GuestFiles guest = GuestMaker.FindOrMake(work);
            kernel = guest.Kernel;
            initrd ??= guest.Initrd;
        }

        var boot = new BootFiles(kernel, initrd, KernelCommandLine.Make(options, Terminal.Size(0)));
        return Run(options, (console, trace) => new PcGuest(options, boot, console, trace), name);
    }

    /// <summary>Runs the machine that <paramref name="build"/> makes.</summary>
    /// <exception cref="UserErrorException">Something that the user named can't be used; nothing has run.</exception>
    public static int Run(
        RunOptions options, Func<IConsole, TextWriter?, IGuestMachine> build, Func<IGuestConsole, IMonitor, IGuestConsole>? name = null)
    {
        using OutputFile? consoleFile = options.Console is "stdio" or "vga" or "none" ? null : OutputFile.Open("--console", options.Console);
        using OutputFile? traceFile = options.Trace is null ? null : OutputFile.Open("--trace", options.Trace);
        var session = new RunSession(options, consoleFile, traceFile, name);

        // To the very end: who ends a program may signal it twice (timeout(1) does), and the second must not cut what is left to write.
        using var signals = new SignalGuard(number => session.End(ExitCodes.Signal(number)));
        using (session)
        {
            return session.Run(build(session._console, session._trace));
        }
    }

    /// <summary>Gives the terminal back, after the last of the output.</summary>
    public void Dispose()
    {
        _over.Set();
        _size?.Dispose();
        _console.Dispose();
        _trace?.Dispose();
    }

    private int Run(IGuestMachine machine)
    {
        _traceFile?.Begin();
        lock (_lock)
        {
            _machine = machine; // Before the console begins: a pipe's first bytes are there at once.
        }

        _console.Begin();
        Tell("started");
        Log.MachineStarted();
        machine.Restarted += OnRestarted;
        try
        {
            MachineEnd end;
            using (machine)
            {
                end = RunToEnd(machine);
                if (_stats)
                {
                    StatisticsTable.Write(StandardStreams.Error, machine.Statistics, _console.LineEnd);
                }
            }

            int code = Judge(end);
            Tell("ended", exitCode: code);
            Log.MachineEnded(code);
            return code;
        }
        finally
        {
            _console.Dispose();
            SayFarewell();
        }
    }

    private void OnRestarted()
    {
        Tell("reset");
        Log.MachineReset();
    }

    private MachineEnd RunToEnd(IGuestMachine machine)
    {
        lock (_lock)
        {
            if (_endCode is not null)
            {
                return new MachineEnd(EndReason.Stopped);
            }

            if (_terminalSize is var (rows, columns))
            {
                machine.Resize(rows, columns);
            }
        }

        LookAtSize();
        try
        {
            MachineEnd end = machine.Run();
            _console.Flush();
            return end;
        }
        catch (Exception error) when (error is not UserErrorException)
        {
            Fail(error);
            return new MachineEnd(EndReason.Stopped);
        }
        finally
        {
            lock (_lock)
            {
                (_machine, _paused) = (null, false);
            }
        }
    }

    /// <summary>The exit code that an end means.</summary>
    private int Judge(MachineEnd end)
    {
        lock (_lock)
        {
            if (_endCode is { } code)
            {
                return code;
            }
        }

        int ended = ExitCodes.Of(end);
        _farewell = ended == ExitCodes.GuestPanic ? $"the guest's kernel panicked{(end.Panic is { } panic ? $": {panic}" : ".")}"
            : end.Reason == EndReason.TripleFault ? $"vCPU {end.Vcpu} of the guest shut down after a triple fault{(end.State is { } state ? $" at {state.Rip:x16}" : "")}."
            : _farewell;
        return ended;
    }

    /// <inheritdoc/>
    /// <remarks>The first one counts.</remarks>
    public void End(int code)
    {
        lock (_lock)
        {
            if (_endCode is not null)
            {
                return;
            }

            _endCode = code;
            _machine?.Stop();
        }

        // A machine that does not stop must not keep the user's terminal, nor what it has done so far.
        void GiveUp()
        {
            if (_over.Wait(s_patience))
            {
                return;
            }

            _console.Restore();
            SayFarewell();
            _trace?.Dispose();
            Environment.Exit(StandardStreams.Finish(code));
        }

        HostThread.Start("patience", GiveUp, null); // Nothing of it throws.
    }

    /// <inheritdoc/>
    /// <remarks>The first end counts.</remarks>
    public void Fail(Exception error)
    {
        lock (_lock)
        {
            if (_endCode is null)
            {
                _farewell = UserText.Fault(error);
            }
        }

        End(ExitCodes.Internal);
    }

    private void Tell(string what, int? exitCode = null) => Events.Publish(new RunEvent(DateTimeOffset.UtcNow, what, ExitCode: exitCode));

    private void SayFarewell()
    {
        if (Interlocked.Exchange(ref _farewell, null) is { } farewell)
        {
            if (_logsJson)
            {
                Log.MachineFailed(farewell);
            }
            else
            {
                StandardStreams.Error.WriteLine($"yado: {farewell}");
            }
        }
    }

    /// <inheritdoc/>
    public bool IsPaused
    {
        get
        {
            lock (_lock)
            {
                return _paused;
            }
        }
    }

    /// <inheritdoc/>
    public bool SetPaused(bool paused)
    {
        IGuestMachine? machine;
        lock (_lock)
        {
            machine = _machine;
        }

        try
        {
            // Without the lock: a vCPU that is waited for may take it.
            if (machine is null || (paused && !machine.Pause()))
            {
                return false;
            }

            if (!paused)
            {
                machine.Resume();
            }
        }
        catch (ObjectDisposedException)
        {
            return false;
        }

        bool changed;
        lock (_lock)
        {
            if (machine != _machine)
            {
                return false;
            }

            (changed, _paused) = (_paused != paused, paused);
        }

        if (changed)
        {
            Tell(paused ? "paused" : "resumed");
            Log.MachineHeld(paused ? "paused" : "resumed");
        }

        return true;
    }

    /// <inheritdoc/>
    public void PressPower()
    {
        Tell("power-button");
        Log.PowerButtonPressed();
        lock (_lock)
        {
            _machine?.PressPower();
        }
    }

    /// <inheritdoc/>
    public TResult? Use<T, TResult>(Func<T, TResult> call)
        where T : class
        where TResult : struct
    {
        lock (_lock)
        {
            return _machine?.Use(call);
        }
    }

    private bool Look(TextFrame frame)
    {
        lock (_lock)
        {
            return _machine?.Look(frame) ?? false;
        }
    }

    private void Press(byte[] stroke)
    {
        lock (_lock)
        {
            _machine?.Press(stroke);
        }
    }

    // A terminal that the guest's console is on has its size; anything else has none that the guest should know.
    private void LookAtSize()
    {
        if (_size is not null && Terminal.Size(0) is var (rows, columns))
        {
            Resize(rows, columns);
        }
    }

    /// <inheritdoc/>
    public void Resize(int rows, int columns)
    {
        lock (_lock)
        {
            _terminalSize = (rows, columns);
            _machine?.Resize(rows, columns);
        }
    }

    /// <inheritdoc/>
    public int Type(ReadOnlySpan<byte> keys)
    {
        lock (_lock)
        {
            return _machine?.Type(keys) ?? keys.Length; // Under the lock: the machine may be gone as soon as it ended.
        }
    }
}
