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
/// A virtual machine that runs: started by <see cref="StartAsync"/>, it runs on threads of its own until its guest ends it, <see cref="Stop"/> cuts the power,
/// or it is disposed of. Members may be called from any thread at any time, and none blocks for the guest; once it is disposed of, they throw
/// <see cref="ObjectDisposedException"/>, but for <see cref="Console"/>, <see cref="Completion"/> and <see cref="DisposeAsync"/>.
/// </summary>
public sealed partial class VirtualMachine : IAsyncDisposable
{
    private readonly DisposableStack _parts = new(); // In the order in which they were made.
    private readonly TaskCompletionSource<MachineEnd> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lazy<Task> _disposal;
    private readonly OutputBuffer _output;
    private readonly Machine _machine;
    private readonly ulong _memory;

    private VirtualMachine(MachineSpec spec, bool restartOnReset)
    {
        using var unfinished = new DisposableStack();
        unfinished.Push(_parts); // What has been made goes again if anything of the rest can't be.
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
    /// Its console: the serial port or, where <see cref="MachineSpec.ConsoleTo"/> is <c>virtio</c>, a virtio console. Where that is <c>none</c>, what the guest
    /// puts out is dropped. Else somebody has to read it: a guest that has put out a mebibyte that nobody reads waits.
    /// </summary>
    public GuestConsole Console { get; }

    /// <summary>
    /// Ends when the machine has ended, and says how: that the guest powered off, panicked, or asked for a reset. Faults with what a thread of the machine met
    /// and nothing expected. What it used of the host's, such as images of disks, it has until it is disposed of.
    /// </summary>
    public Task<MachineEnd> Completion => _completion.Task;

    /// <summary>Whether it is paused.</summary>
    public bool IsPaused => _machine.IsPaused;

    /// <summary>Builds a machine and starts it.</summary>
    /// <param name="spec">
    /// What it is made of. Without a network among its devices it has none. A kernel of Linux's that is given no command line has its console on the machine's,
    /// and resets when it panics.
    /// </param>
    /// <param name="restartOnReset">Whether a reset that the guest asks for starts it again, its panics' resets among them; otherwise a reset is the end.</param>
    /// <param name="cancellationToken">Gives up before it starts. Not what ends it later.</param>
    /// <returns>The machine, once its first instruction is about to run: all it needs of the host's it has.</returns>
    /// <exception cref="ConfigurationException">The specification has something that can't be: <see cref="ConfigurationException.Field"/> says what.</exception>
    /// <exception cref="UserErrorException">Something that it names can't be used, such as a kernel that is none. Nothing is left of the machine.</exception>
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

    /// <summary>Pauses it: when this ends, no guest code runs, no request of a device is in flight, and the guest's clocks stand.</summary>
    /// <returns>False where it has ended, or does just now.</returns>
    public Task<bool> PauseAsync() => Task.Run(_machine.Pause);

    /// <summary>Goes on after a pause: the guest's clocks go on from where they stood. Nothing where it is not paused.</summary>
    public Task ResumeAsync() => Task.Run(_machine.Resume);

    /// <summary>Presses the power button: most guests shut down and power off, in their own time. A paused one hears of it when it goes on.</summary>
    public void PressPowerButton() => _machine.PowerButton();

    /// <summary>Cuts the power. Returns at once; <see cref="Completion"/> says when it has ended. What the guest puts out from now on is dropped.</summary>
    public void Stop()
    {
        _machine.Stop();
        _output.End(); // Lets go of a vCPU that waits for room there.
    }

    /// <summary>Cuts the power, waits for the end, and gives all back that the machine has of the host's. As often as one likes; the first counts.</summary>
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
            "/console", $"The console '{spec.ConsoleTo}' is for the command line", "leave it out for the serial port, or give virtio or none"),
    };

    private static TranslationEngine EngineOf(MachineSpec spec)
    {
        var engine = new TranslationEngine { Direct = spec.Direct };
        return spec.Engine != engine.Name ? throw new ConfigurationException("/engine", $"'{spec.Engine}' is not an engine", $"give {engine.Name}")
            : engine.Probe() is { Available: false } support ? throw new UserErrorException($"The engine {engine.Name} can't run on this host: {support.Reason.TrimEnd('.')}.")
            : engine;
    }
}
