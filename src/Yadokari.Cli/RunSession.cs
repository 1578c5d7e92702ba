using Yadokari.Cli.Consoles;
using Yadokari.Cli.DefaultGuest;
using Yadokari.Core;
using Yadokari.Linux;

namespace Yadokari.Cli;

/// <summary>One <c>yado run</c>, from checked options to an exit code.</summary>
internal sealed class RunSession : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly Func<IGuestMachine> _powerOn;
    private readonly IGuestConsole _console;
    private readonly PanicWatch _panic = new();
    private readonly Lock _lock = new();
    private IGuestMachine? _machine; // Guarded by _lock.
    private int? _endCode; // Guarded by _lock: set once somebody outside the guest ends the run.

    private RunSession(RunOptions options, GuestFiles? defaultGuest, OutputFile? consoleFile)
    {
        _console = options.Console switch
        {
            "none" => new SilentConsole(),
            "stdio" => new StdioConsole(Type, End),
            _ => new FileConsole(consoleFile!),
        };
        string kernel = options.Kernel ?? defaultGuest!.Value.Kernel;
        string? initrd = options.Initrd ?? defaultGuest?.Initrd;
        string commandLine = KernelCommandLine.Make(options, Terminal.Size(0));
        _powerOn = () => GuestMachines.Create(options, kernel, initrd, commandLine, output =>
        {
            _panic.Feed(output);
            _console.Write(output);
        });
    }

    /// <summary>Runs.</summary>
    /// <exception cref="UserErrorException">Something that the user named can't be used; nothing has run.</exception>
    public static int Run(RunOptions options)
    {
        CheckFiles(options);
        GuestFiles? defaultGuest = options.IsDefaultGuest || options.Kernel is null ? GuestMaker.FindOrMake() : null;
        if (!options.IsDefaultGuest)
        {
            defaultGuest = defaultGuest is { } files ? files with { Initrd = options.Initrd! } : null;
        }

        using OutputFile? consoleFile = options.Console is "stdio" or "none" ? null : OutputFile.Open("--console", options.Console);
        using var session = new RunSession(options, defaultGuest, consoleFile);
        using IGuestMachine first = session._powerOn();
        return session.Run(first, options.Stats);
    }

    /// <summary>Ends the run from outside. Any thread; the first one counts.</summary>
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

        // A machine that does not stop must not keep the user's terminal.
        new Thread(() =>
        {
            Thread.Sleep(s_patience);
            _console.Restore();
            Environment.Exit(code);
        })
        { IsBackground = true, Name = "patience" }.Start();
    }

    /// <summary>Ends the console: the terminal is as it was.</summary>
    public void Dispose() => _console.Dispose();

    private static void CheckFiles(RunOptions options)
    {
        if (options.Kernel is { } kernel)
        {
            InputFile.Check("--kernel", kernel);
        }

        if (options.Initrd is { } initrd && InputFile.Check("--initrd", initrd) is long length && (ulong)length >= options.Memory)
        {
            throw new UserErrorException(
                $"--initrd {initrd} ({MemorySize.Show((ulong)length)}) does not fit into the guest's memory of {MemorySize.Show(options.Memory)}: give more with --memory.");
        }
    }

    private int Run(IGuestMachine machine, bool stats)
    {
        using var signals = new SignalGuard(number => End(ExitCodes.Signal(number)), end: false);
        _console.Begin();
        try
        {
            while (true)
            {
                MachineEnd end;
                using (machine)
                {
                    end = RunOnce(machine);
                    if (stats)
                    {
                        _console.Flush();
                        StatisticsTable.Write(Console.Error, machine.Statistics, _console.LineEnd);
                    }
                }

                if (Judge(end) is int code)
                {
                    return code;
                }

                machine = _powerOn();
            }
        }
        finally
        {
            _console.Dispose();
            if (_farewell is not null)
            {
                Console.Error.WriteLine($"yado: {_farewell}");
            }
        }
    }

    private string? _farewell;

    private MachineEnd RunOnce(IGuestMachine machine)
    {
        lock (_lock)
        {
            if (_endCode is not null)
            {
                return MachineEnd.Stopped;
            }

            _machine = machine;
        }

        MachineEnd end = machine.Run();
        lock (_lock)
        {
            _machine = null;
        }

        return end;
    }

    /// <summary>The exit code that an end means, or null for one more round.</summary>
    private int? Judge(MachineEnd end)
    {
        lock (_lock)
        {
            if (_endCode is not null)
            {
                return _endCode;
            }
        }

        switch (end)
        {
            case MachineEnd.PowerOff:
                return ExitCodes.Success;
            case MachineEnd.TripleFault:
                _farewell = "the guest's processor shut down after a triple fault.";
                return ExitCodes.TripleFault;
            case MachineEnd.Reset when _panic.Panicked:
                _farewell = "the guest's kernel panicked.";
                return ExitCodes.GuestPanic;
            case MachineEnd.Reset:
                return null;
            default:
                return ExitCodes.Internal;
        }
    }

    private void Type(ReadOnlySpan<byte> keys)
    {
        lock (_lock)
        {
            _machine?.Type(keys);
        }
    }
}
