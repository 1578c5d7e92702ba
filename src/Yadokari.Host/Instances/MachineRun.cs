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

/// <summary>Runs machines: here, or those with a name in a monitor in the background too, which is this program with the command <c>monitor</c>.</summary>
/// <param name="parse">Reads the words behind <c>yado run</c> that a machine of an older yado was made with; throws a <see cref="UserErrorException"/> where they can't be any more.</param>
/// <param name="work">Shows how images are made, if they have to be.</param>
public sealed class MachineRun(Func<IReadOnlyList<string>, RunOptions> parse, ILongWork work)
{
    private const string Ready = "ready";

    /// <summary>What the kernel of a recipe's system is told.</summary>
    private const string CommandLineText = $"root=LABEL={DebianImage.Label} {MachineSpec.DefaultAppend} quiet mitigations=off 8250.nr_uarts=1";

    // Without a card there is no network to wait for, which systemd would do for two minutes.
    private const string NoNetwork = " systemd.mask=systemd-networkd-wait-online.service";

    /// <summary>Runs a machine without a name, with its console here; nothing of it is kept. Returns the exit code; see <see cref="ExitCodes"/>.</summary>
    /// <exception cref="UserErrorException">Something that the user named can't be used; nothing has run.</exception>
    public int Run(RunOptions options) => RunSession.Run(options, work);

    /// <summary>Makes a machine and starts it. Returns the exit code.</summary>
    /// <param name="request">Which.</param>
    /// <param name="options">Of what.</param>
    /// <exception cref="UserErrorException">It can't be made or run; then there is no such machine.</exception>
    public int Create(MachineRequest request, RunOptions options)
    {
        if (request.Name is { } name && MachineFolder.Of(name) is { Exists: true } there)
        {
            throw new UserErrorException(there.IsRunning()
                ? $"A machine {name} runs already: give another --name, or 'yado rm -f {name}' removes it."
                : $"There is a machine {name} already: 'yado start {name}' starts it, 'yado rm {name}' removes it.");
        }

        // An image takes its time to be made: what is wrong with the rest is said before.
        Engines.Create(options.Engine, default);
        ImageFiles? image = request.Recipe is { } recipe ? DebianImage.FindOrMake(recipe, work) : null;

        (MachineFolder machine, FileStream taken) = Take(request);
        bool ran = false;
        try
        {
            MachineConfig config = Furnish(machine, request, options, image);
            machine.WriteConfig(config);
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

    /// <summary>Starts a machine that is there. Returns the exit code.</summary>
    /// <param name="machine">Which.</param>
    /// <param name="attach">Whether to run it here, with its console, rather than in the background.</param>
    /// <exception cref="UserErrorException">It can't run, or runs.</exception>
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

    /// <summary>What <see cref="Spawn"/> starts: runs a machine in the background, and says on standard output once it does.</summary>
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

    /// <summary>How to log in, for the user.</summary>
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
        File.Delete(machine.Disk); // Of one that was interrupted while it was made.
        MachineDisk.Make(files.Disk, machine.Disk, config.DiskSize);
        File.WriteAllBytes(machine.Seed, CloudSeed.Make(machine.Name, $"{machine.Name}-{Guid.NewGuid():N}", SshKey.FindOrMake(), config.Password, request.UserData));
        return config;
    }

    /// <summary>What a machine is made of, as the user said it.</summary>
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

        return config.Spec is { } spec ? config.Settings.On(spec) : parse(config.Arguments!);
    }

    private int Run(MachineFolder machine, MachineConfig config, RunOptions options, Action begun)
    {
        machine.WriteProcess(null); // What a monitor that was killed has left: its number and its ports are others' by now.
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

        // A way to its sshd, for the user of this host alone.
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

    // The monitor says on its standard output that it runs; what it says on standard error before is what is wrong.
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
