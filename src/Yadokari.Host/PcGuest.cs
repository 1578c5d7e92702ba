using Yadokari.Boards.Pc;
using Yadokari.Core;
using Yadokari.Core.Engines;
using Yadokari.Debugging.Dump;
using Yadokari.Devices.Display;
using Yadokari.Devices.Serial;
using Yadokari.Host.Consoles;
using Yadokari.Linux;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>The files and text that a machine boots from.</summary>
/// <param name="Kernel">Path of the kernel; null if firmware boots.</param>
/// <param name="Initrd">Path of the initial RAM disk, or null.</param>
/// <param name="CommandLine">The kernel's command line.</param>
internal sealed record BootFiles(string? Kernel, string? Initrd, string CommandLine);

/// <summary>A PC and its engine, built from the options of a run.</summary>
internal sealed class PcGuest : IGuestMachine
{
    private readonly HostClock _clock = new();
    private readonly DebugSession? _debugger;
    private readonly Machine _pc;

    /// <summary>Builds the machine and loads its kernel.</summary>
    /// <exception cref="UserErrorException">A file, address or engine of the options can't be used.</exception>
    public PcGuest(RunOptions options, BootFiles boot, IConsole console, TextWriter? trace)
    {
        try
        {
            IEngine engine = Engines.Create(options.Engine, new EngineOptions(trace, options.Stats, options.Direct));
            var config = new PcConfig(options)
            {
                Kernel = boot.Kernel,
                Initrd = boot.Initrd,
                CommandLine = boot.CommandLine,
                IsDefaultCommandLine = options.Append is null,
                Console = console,
                VirtioConsole = options.HasVirtioConsole,
                Screen = options.HasScreen,
                Clock = _clock,
            };
            _pc = new Machine(config, engine);
            if (options.GdbPort is { } port)
            {
                _debugger = new DebugSession(_pc, port);
            }
        }
        catch
        {
            _pc?.Dispose();
            _clock.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public event Action? Restarted
    {
        add => _pc.Restarted += value;
        remove => _pc.Restarted -= value;
    }

    /// <inheritdoc/>
    public IEnumerable<(string Group, string Name, double Value, string Unit)> Statistics => _pc.Statistics;

    /// <inheritdoc/>
    public MachineEnd Run()
    {
        MachineEnd end = _pc.Run();
        _debugger?.Finish(end);
        if (end.Reason == EndReason.TripleFault && end.State is { } state)
        {
            StateDump.Write(StandardStreams.Error, state, _pc.Vcpus[end.Vcpu].ReadLinear, _pc.Memory);
        }

        return end;
    }

    /// <inheritdoc/>
    public void Stop() => _pc.Stop();

    /// <inheritdoc/>
    public bool IsPaused => _pc.IsPaused;

    /// <inheritdoc/>
    public bool Pause() => _pc.Pause();

    /// <inheritdoc/>
    public void Resume() => _pc.Resume();

    /// <inheritdoc/>
    public void PressPower() => _pc.PowerButton();

    /// <inheritdoc/>
    public int Type(ReadOnlySpan<byte> keys) => _pc.Type(keys);

    /// <inheritdoc/>
    public void Resize(int rows, int columns) => _pc.ResizeConsole(rows, columns);

    /// <inheritdoc/>
    public TResult Use<T, TResult>(Func<T, TResult> call)
        where T : class => _pc.Use(call);

    /// <inheritdoc/>
    public void Press(byte[] stroke) => _pc.Keyboard.Press(stroke);

    /// <inheritdoc/>
    public bool Look(TextFrame frame) => _pc.Look(frame);

    /// <inheritdoc/>
    public void Dispose()
    {
        _debugger?.Dispose();
        _pc.Dispose();
        _clock.Dispose();
    }
}
