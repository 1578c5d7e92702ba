using Yadokari.Boards.Pc;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.Linux;
using Yadokari.Machines;
using Yadokari.Translation;

namespace Yadokari;

/// <summary>
/// A running virtual machine. <see cref="StartAsync"/> starts it on threads of its own; it runs until its guest ends it, <see cref="Stop"/> cuts the power, or
/// it is disposed of. Members may be called from any thread at any time, and none blocks for the guest. After disposal they throw
/// <see cref="ObjectDisposedException"/>, except <see cref="Console"/>, <see cref="Completion"/> and <see cref="DisposeAsync"/>.
/// </summary>
public sealed partial class VirtualMachine : IAsyncDisposable
{
    private readonly DisposableStack _parts = new(); // In order of creation; disposed of in reverse.
    private readonly TaskCompletionSource<MachineEnd> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lazy<Task> _disposal;
    private readonly OutputBuffer _output;
    private readonly Machine _machine;
    private readonly ulong _memory;

    private VirtualMachine(MachineSpec spec, bool restartOnReset)
    {
        using var unfinished = new DisposableStack();
        unfinished.Push(_parts); // Disposes of the parts so far if creating a later one fails.
        _memory = spec.Memory;
        _disposal = new Lazy<Task>(DisposeOnceAsync);
        _output = new OutputBuffer(discards: spec.ConsoleTo == "none");
        HostClock clock = _parts.Push(new HostClock());
        var config = new PcConfig(spec)
        {
            CommandLine = spec.Append ?? spec.OnConsole(MachineSpec.DefaultAppend),
            IsDefaultCommandLine = spec.Append is null,
            Console = _output,
            VirtioConsole = HasVirtioConsole(spec),
            Clock = clock,
            RestartOnReset = restartOnReset,
        };
        _machine = _parts.Push(new Machine(config, EngineOf(spec)));
        Console = new GuestConsole(_output, bytes => _machine.Type(bytes.Span));
        unfinished.Release();
    }

    /// <summary>
    /// The console: the serial port, or a virtio console if <see cref="MachineSpec.ConsoleTo"/> is <c>virtio</c>. If that is <c>none</c>, the guest's output is
    /// dropped. Otherwise the caller has to read it: the guest blocks when 1 MiB of output is unread.
    /// </summary>
    public GuestConsole Console { get; }

    /// <summary>
    /// Completes when the machine has ended. The result tells how: the guest powered off, panicked, or requested a reset. Faults with an unexpected exception of
    /// one of the machine's threads. The machine keeps its host resources, such as disk images, until it is disposed of.
    /// </summary>
    public Task<MachineEnd> Completion => _completion.Task;

    /// <summary>Whether the machine is paused.</summary>
    public bool IsPaused => _machine.IsPaused;

    /// <summary>Builds a machine and starts it.</summary>
    /// <param name="spec">
    /// The specification. There is no default network. A Linux kernel without a command line gets one that sets its console to the machine's and resets on a
    /// panic.
    /// </param>
    /// <param name="restartOnReset">Whether the guest starts again after a reset that it requests, also by a panic; otherwise a reset ends the machine.</param>
    /// <param name="cancellationToken">Cancels the start. It has no effect on the running machine.</param>
    /// <returns>The machine, when all host resources are open and its first instruction is about to run.</returns>
    /// <exception cref="ConfigurationException">The specification is not valid; <see cref="ConfigurationException.Field"/> names the field.</exception>
    /// <exception cref="UserErrorException">A file, address or engine of the specification can't be used. All resources are released.</exception>
    public static async Task<VirtualMachine> StartAsync(MachineSpec spec, bool restartOnReset = false, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(spec);
        return await Task.Run(Start, cancellationToken).ConfigureAwait(false);

        VirtualMachine Start()
        {
            var machine = new VirtualMachine(spec, restartOnReset);
            if (cancellationToken.IsCancellationRequested)
            {
                machine._parts.Dispose();
                cancellationToken.ThrowIfCancellationRequested();
            }

            HostThread.Start("machine", machine.Run, machine.Fail);
            return machine;
        }
    }

    /// <summary>Pauses the machine. When the task completes, no guest code runs, no request of a device is in flight, and the guest's clocks are stopped.</summary>
    /// <returns>False if the machine has ended or ends meanwhile.</returns>
    public Task<bool> PauseAsync() => Task.Run(_machine.Pause);

    /// <summary>Resumes the machine; its clocks continue from where they stopped. Does nothing if it is not paused.</summary>
    public Task ResumeAsync() => Task.Run(_machine.Resume);

    /// <summary>Presses the power button: most guests shut down and power off. A paused guest sees it after it is resumed.</summary>
    public void PressPowerButton() => _machine.PowerButton();

    /// <summary>Cuts the power. Returns at once; <see cref="Completion"/> completes when the machine has ended. Further output of the guest is dropped.</summary>
    public void Stop()
    {
        _machine.Stop();
        _output.End(); // Wakes a vCPU that waits for room in the buffer.
    }

    /// <summary>Cuts the power, waits for the end, and releases all host resources. Further calls return the same task.</summary>
    public ValueTask DisposeAsync() => new(_disposal.Value);

    private async Task DisposeOnceAsync()
    {
        Stop();
        await ((Task)Completion).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Task.Run(_parts.Dispose).ConfigureAwait(false);
    }

    private void Run()
    {
        MachineEnd end = _machine.Run();
        _output.End();
        _completion.SetResult(end);
    }

    private void Fail(Exception error)
    {
        _output.End();
        _completion.SetException(error);
    }

    private static bool HasVirtioConsole(MachineSpec spec) => spec.ConsoleTo switch
    {
        "stdio" or "none" => false,
        "virtio" => true,
        _ => throw new ConfigurationException(
            "/console", $"The console '{spec.ConsoleTo}' is available on the command line only", "leave it out for the serial port, or give virtio or none"),
    };

    private static TranslationEngine EngineOf(MachineSpec spec)
    {
        var engine = new TranslationEngine { Direct = spec.Direct };
        return spec.Engine != engine.Name ? throw new ConfigurationException("/engine", $"'{spec.Engine}' is not an engine", $"give {engine.Name}")
            : engine.Probe() is { Available: false } support ? throw new UserErrorException($"The engine {engine.Name} can't run on this host: {support.Reason.TrimEnd('.')}.")
            : engine;
    }
}
