using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Yadokari.Boards.Pc;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.Recipes;
using Yadokari.Linux;
using Yadokari.Machines;
using Yadokari.Networks;

namespace Yadokari.Host.Instances;

/// <summary>Runs machines in this process, or named ones in a background monitor, which is this program with the command <c>monitor</c>.</summary>
/// <param name="parse">Parses the stored arguments of a machine that an older version made; throws a <see cref="UserErrorException"/> if they are not valid any more.</param>
/// <param name="work">Shows progress if an image has to be made.</param>
public sealed class MachineRun(Func<IReadOnlyList<string>, RunOptions> parse, ILongWork work)
{
    private const string Ready = "ready";

    /// <summary>The kernel's command line in a recipe's system.</summary>
    private const string CommandLineText = $"root=LABEL={DebianImage.Label} {MachineSpec.DefaultAppend} quiet mitigations=off 8250.nr_uarts=1";

    // Without a network card systemd would wait for the network for two minutes.
    private const string NoNetwork = " systemd.mask=systemd-networkd-wait-online.service";

    /// <summary>Runs a machine without a name in this process; nothing of it is stored. Returns the exit code; see <see cref="ExitCodes"/>.</summary>
    /// <exception cref="UserErrorException">A file, address or engine of the options can't be used; nothing has run.</exception>
    public int Run(RunOptions options) => RunSession.Run(options, work);

    /// <summary>Makes a named machine and starts it. Returns the exit code.</summary>
    /// <param name="request">The machine's name and system.</param>
    /// <param name="options">The machine's parts, and how to run it.</param>
    /// <exception cref="UserErrorException">The machine can't be made or run; it is removed again.</exception>
    public int Create(MachineRequest request, RunOptions options)
    {
        if (request.Name is { } name && MachineFolder.Of(name) is { Exists: true } there)
        {
            throw new UserErrorException(there.IsRunning()
                ? $"A machine {name} runs already: give another --name, or 'yado rm -f {name}' removes it."
                : $"There is a machine {name} already: 'yado start {name}' starts it, 'yado rm {name}' removes it.");
        }

        // Making an image may take minutes, so an engine that can't run is reported before.
        Engines.Create(options.Engine, default);
        ImageFiles? image = request.Recipe is { } recipe ? DebianImage.FindOrMake(recipe, work) : null;

        (MachineFolder machine, FileStream taken) = Take(request);
        bool ran = false;
        try
        {
            MachineConfig config;
            try
            {
                config = Furnish(machine, request, options, image);
                machine.WriteConfig(config);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                throw new UserErrorException(
                    $"The machine {machine.Name} can't be made in {MachineFolder.Root} ({error.Message.TrimEnd('.')}): free space there, or set XDG_DATA_HOME to another folder.");
            }

            if (request.Detach)
            {
                taken.Dispose();
                int code = Spawn(machine, request.Remove);
                ran = code == ExitCodes.Success;
                return code;
            }

            return Run(machine, config, options, () =>
            {
                ran = true;
                StandardStreams.Error.WriteLine(Greeting(machine, config));
            });
        }
        finally
        {
            if (!ran || (request.Remove && !request.Detach))
            {
                machine.Remove();
            }

            taken.Dispose();
        }
    }

    /// <summary>Starts an existing machine. Returns the exit code.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="attach">Whether to run it in this process, with its console, rather than in the background.</param>
    /// <exception cref="UserErrorException">The machine can't run, or runs already.</exception>
    public int Start(MachineFolder machine, bool attach)
    {
        if (!attach)
        {
            if (machine.IsRunning())
            {
                throw new UserErrorException($"The machine {machine.Name} runs already: 'yado console {machine.Name}' attaches to it.");
            }

            return Spawn(machine, remove: false);
        }

        using FileStream taken = TakeExisting(machine);
        MachineConfig config = machine.ReadConfig();
        return Run(machine, config, OptionsOf(config), () => StandardStreams.Error.WriteLine(Greeting(machine, config)));
    }

    /// <summary>Runs a machine in this background process, which <see cref="Spawn"/> started. Reports on standard output when the machine runs.</summary>
    public int Monitor(MachineFolder machine, bool remove)
    {
        Daemon.BeginSession();
        using FileStream taken = TakeExisting(machine);
        MachineConfig config = machine.ReadConfig();
        RunOptions options = OptionsOf(config);
        try
        {
            return Run(machine, config, options.ConsoleTo == "stdio" ? options with { ConsoleTo = "none" } : options, () =>
            {
                StandardStreams.Output.WriteLine(Ready);
                Daemon.Detach(machine.MonitorLog);
            });
        }
        finally
        {
            if (remove)
            {
                machine.Remove();
            }
        }
    }

    /// <summary>The message that tells the user how to log in.</summary>
    public static string Greeting(MachineFolder machine, MachineConfig config) => config.Password is null
        ? $"yado: machine {machine.Name}"
        : $"yado: machine {machine.Name}: log in as '{CloudSeed.User}', at first with the password '{config.Password}'; Ctrl-A x ends it";

    private static FileStream TakeExisting(MachineFolder machine) => machine.TryLock()
        ?? throw new UserErrorException($"The machine {machine.Name} runs already: 'yado console {machine.Name}' attaches to it.");

    private static (MachineFolder Machine, FileStream Lock) Take(MachineRequest request)
    {
        while (true)
        {
            MachineFolder machine = request.Name is { } name ? MachineFolder.Of(name) : MachineFolder.Free(request.Recipe?.Name ?? "machine");
            if (machine.TryLock() is { } taken)
            {
                if (!machine.Exists)
                {
                    return (machine, taken);
                }

                taken.Dispose();
            }

            if (request.Name is not null)
            {
                throw new UserErrorException($"A machine {request.Name} has been made meanwhile: give another --name.");
            }
        }
    }

    private static MachineConfig Furnish(MachineFolder machine, MachineRequest request, RunOptions options, ImageFiles? image)
    {
        var config = new MachineConfig
        {
            Recipe = request.Recipe?.Name,
            Created = DateTimeOffset.UtcNow,
            Directory = Environment.CurrentDirectory,
            Spec = options,
            Settings = RunSettings.Of(options),
        };
        if (image is not { } files)
        {
            return config;
        }

        const string letters = "abcdefghjkmnpqrstuvwxyz23456789";
        config = config with
        {
            DiskSize = request.DiskSize ?? request.Recipe!.Size,
            Password = $"{RandomNumberGenerator.GetString(letters, 5)}-{RandomNumberGenerator.GetString(letters, 5)}",
        };
        File.Copy(files.Kernel, machine.Kernel, overwrite: true);
        File.Copy(files.Initrd, machine.Initrd, overwrite: true);
        File.Delete(machine.Disk); // Left by an interrupted run.
        MachineDisk.Make(files.Disk, machine.Disk, config.DiskSize);
        File.WriteAllBytes(machine.Seed, CloudSeed.Make(machine.Name, $"{machine.Name}-{Guid.NewGuid():N}", SshKey.FindOrMake(), config.Password, request.UserData));
        return config;
    }

    /// <summary>The specification that the user gave for a machine.</summary>
    /// <exception cref="UserErrorException">Its folder is damaged.</exception>
    public MachineSpec SpecOf(MachineFolder machine)
    {
        MachineConfig config = machine.ReadConfig();
        return config.Spec ?? parse(config.Arguments!);
    }

    private RunOptions OptionsOf(MachineConfig config)
    {
        if (Directory.Exists(config.Directory))
        {
            Environment.CurrentDirectory = config.Directory;
        }

        return config.Spec is { } spec ? (config.Settings ?? new RunSettings()).On(spec) : parse(config.Arguments!);
    }

    private int Run(MachineFolder machine, MachineConfig config, RunOptions options, Action begun)
    {
        machine.WriteProcess(null); // A killed monitor leaves its record, whose process id and ports may be in use by other processes.
        if (config.Recipe is not null)
        {
            options = options with
            {
                Kernel = machine.Kernel,
                Initrd = machine.Initrd,
                Append = options.Append ?? options.OnConsole(CommandLineText) + (options.Devices.Any(d => d is NetworkSpec) ? "" : NoNetwork),
                Devices = MachineSpec.Order([new DiskSpec(machine.Disk), new DiskSpec(machine.Seed, ReadOnly: true), .. options.Devices]),
            };
        }

        // A forwarded port to its sshd, on the loopback interface only.
        int? ssh = null;
        if (config.Recipe is not null && options.Devices.OfType<NetworkSpec>().FirstOrDefault(n => n.Network != NetworkKind.Tap) is { } network)
        {
            const int sshd = 22;
            ssh = FreePort();
            NetworkSpec withSsh = network with { Forwards = [.. network.Forwards, new PortForward(IPAddress.Loopback, ssh.Value, sshd)] };
            options = options with { Devices = [.. options.Devices.Select(d => ReferenceEquals(d, network) ? withSsh : d)] };
        }

        string[] ports = [.. options.Devices.OfType<NetworkSpec>().SelectMany(n => n.Forwards).Select(f => f.ToString())];
        using ControlServer control = ControlServer.Open(machine.Control);
        try
        {
            return RunSession.Run(options, work, (console, monitor) => new MachineConsole(
                console,
                new FileStream(machine.Log, FileMode.Append, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0),
                control,
                () =>
                {
                    DateTimeOffset now = DateTimeOffset.UtcNow;
                    machine.WriteProcess(new MachineProcess(Environment.ProcessId, now, ssh, ports));
                    control.Begin(monitor, new MachineDescription(machine.Name, options.Cpus, options.Memory, now));
                    begun();
                },
                monitor.Fail));
        }
        finally
        {
            machine.WriteProcess(null);
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    // The monitor reports on standard output that the machine runs, or an error on standard error.
    private static int Spawn(MachineFolder machine, bool remove)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (string word in (ReadOnlySpan<string>)["monitor", machine.Name, .. remove ? (string[])["--rm"] : []])
        {
            start.ArgumentList.Add(word);
        }

        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        if (process.StandardOutput.ReadLine() == Ready)
        {
            StandardStreams.Output.WriteLine(machine.Name);
            return ExitCodes.Success;
        }

        StandardStreams.Error.Write(process.StandardError.ReadToEnd());
        process.WaitForExit();
        return process.ExitCode;
    }
}
