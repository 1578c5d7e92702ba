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

/// <summary>Runs a machine once, from checked options to an exit code.</summary>
internal sealed class RunSession : IMonitor, IDisposable
{
    private static readonly TimeSpan s_stopTimeout = TimeSpan.FromSeconds(5);

    private readonly IGuestConsole _console;
    private readonly OutputFile? _traceFile;
    private readonly LineWriter? _trace;
    private readonly bool _stats;
    private readonly bool _logsJson;
    private readonly Lock _pausing = new(); // Outermost: held while the machine is paused or resumed, so that events come in that order.
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _over = new(); // The run has ended.
    private readonly PosixSignalRegistration? _size;
    private IGuestMachine? _machine; // Guarded by _lock.
    private (int Rows, int Columns)? _terminalSize; // Guarded by _lock: size of the console's terminal.
    private int? _endCode; // Guarded by _lock: set when the user, a signal or a control request ends the run.
    private string? _failure;

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
        _size = options.HasVirtioConsole && options.Console == "stdio" ? PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => UpdateSize()) : null;
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

    /// <summary>Runs a PC with the kernel, firmware or disks of the options, or the default guest.</summary>
    /// <param name="options">The machine and how to run it.</param>
    /// <param name="work">Shows progress if the default guest has to be made.</param>
    /// <param name="name">For a named machine: wraps the console of the options, and receives the interface that controls the run. Null without a name.</param>
    /// <exception cref="UserErrorException">A file, address or engine of the options can't be used; nothing has run.</exception>
    /// <returns>The exit code; see <see cref="ExitCodes"/>.</returns>
    public static int Run(RunOptions options, ILongWork work, Func<IGuestConsole, IMonitor, IGuestConsole>? name = null)
    {
        // Making the default guest may take minutes, so an engine that can't run is reported before.
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
    /// <exception cref="UserErrorException">A file, address or engine of the options can't be used; nothing has run.</exception>
    public static int Run(
        RunOptions options, Func<IConsole, TextWriter?, IGuestMachine> build, Func<IGuestConsole, IMonitor, IGuestConsole>? name = null)
    {
        using OutputFile? consoleFile = options.Console is "stdio" or "vga" or "none" ? null : OutputFile.Open("--console", options.Console);
        using OutputFile? traceFile = options.Trace is null ? null : OutputFile.Open("--trace", options.Trace);
        var session = new RunSession(options, consoleFile, traceFile, name);

        // Kept until the output is written: a program may be signalled twice (timeout(1) does that), and the second signal must not lose output.
        using var signals = new SignalGuard(number => session.End(ExitCodes.Signal(number)));
        using (session)
        {
            return session.Run(build(session._console, session._trace));
        }
    }

    /// <summary>Writes the last output and restores the terminal's mode.</summary>
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
            _machine = machine; // Before the console begins: a pipe may have input at once.
        }

        _console.Begin();
        Publish("started");
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

            int code = ExitCodeOf(end);
            Publish("ended", exitCode: code);
            Log.MachineEnded(code);
            return code;
        }
        finally
        {
            _console.Dispose();
            ReportFailure();
        }
    }

    private void OnRestarted()
    {
        Publish("reset");
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

        UpdateSize();
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
                _machine = null;
            }
        }
    }

    /// <summary>The exit code for the end of a machine. Sets the message to report.</summary>
    private int ExitCodeOf(MachineEnd end)
    {
        lock (_lock)
        {
            if (_endCode is { } code)
            {
                return code;
            }
        }

        int ended = ExitCodes.Of(end);
        _failure = ended == ExitCodes.GuestPanic ? $"the guest's kernel panicked{(end.Panic is { } panic ? $": {panic}" : ".")}"
            : end.Reason == EndReason.TripleFault ? $"vCPU {end.Vcpu} of the guest shut down after a triple fault{(end.State is { } state ? $" at {state.Rip:x16}" : "")}."
            : _failure;
        return ended;
    }

    /// <inheritdoc/>
    /// <remarks>The first call decides; later ones have no effect.</remarks>
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

        // If the machine does not stop in time, the process ends without it: the terminal is restored, and output and trace so far are written.
        void ExitAfterTimeout()
        {
            if (_over.Wait(s_stopTimeout))
            {
                return;
            }

            _console.Restore();
            ReportFailure();
            _trace?.Dispose();
            Environment.Exit(StandardStreams.Finish(code));
        }

        HostThread.Start("stop timeout", ExitAfterTimeout, null); // It throws nothing.
    }

    /// <inheritdoc/>
    /// <remarks>No effect if the run has been ended before.</remarks>
    public void Fail(Exception error)
    {
        lock (_lock)
        {
            if (_endCode is null)
            {
                _failure = UserText.Fault(error);
            }
        }

        End(ExitCodes.Internal);
    }

    private void Publish(string what, int? exitCode = null) => Events.Publish(new RunEvent(DateTimeOffset.UtcNow, what, ExitCode: exitCode));

    private void ReportFailure()
    {
        if (Interlocked.Exchange(ref _failure, null) is { } farewell)
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
                return _machine?.IsPaused ?? false;
            }
        }
    }

    /// <inheritdoc/>
    public bool SetPaused(bool paused)
    {
        lock (_pausing)
        {
            IGuestMachine? machine;
            lock (_lock)
            {
                machine = _machine;
            }

            bool changed;
            try
            {
                // Without the inner lock: pausing waits for the vCPUs, and their threads may take it.
                changed = machine is not null && machine.IsPaused != paused;
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

            lock (_lock)
            {
                if (machine != _machine)
                {
                    return false;
                }
            }

            if (changed)
            {
                Publish(paused ? "paused" : "resumed");
                Log.MachineHeld(paused ? "paused" : "resumed");
            }

            return true;
        }
    }

    /// <inheritdoc/>
    public void PressPower()
    {
        Publish("power-button");
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

    // Only a virtio console on a terminal passes the terminal's size to the guest.
    private void UpdateSize()
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
            return _machine?.Type(keys) ?? keys.Length; // Under the lock: the machine is disposed of soon after it ended.
        }
    }
}
