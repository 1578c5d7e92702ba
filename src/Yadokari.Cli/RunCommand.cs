using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Yadokari.Boards.Pc;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Cli.Machines;
using Yadokari.Cli.Options;
using Yadokari.Cli.Progress;
using Yadokari.Core;
using Yadokari.Disks;
using Yadokari.Host;
using Yadokari.Host.Instances;
using Yadokari.Machines;
using Yadokari.Networks;

namespace Yadokari.Cli;

/// <summary><c>yado run</c>: its options, and what they may be.</summary>
internal static class RunCommand
{
    private const string DiskShape = "FILE[,ro][,snapshot][,format=raw|qcow2][,bus=virtio|ide][,packed]";

    private const string FloppyShape = "FILE[,ro][,snapshot]";

    private const string VirtioConsole = "virtio";

    private static readonly Option<string?> s_kernel = new("--kernel") { HelpName = "FILE", Description = "bzImage, ELF or Multiboot kernel [default: Debian's kernel for clouds, fetched once]" };
    private static readonly Option<string?> s_initrd = new("--initrd") { HelpName = "FILE", Description = "Initial RAM disk" };
    private static readonly Option<string?> s_firmware = new("--firmware") { HelpName = "FILE", Description = "Start in a firmware ROM such as SeaBIOS's bios.bin, which boots a disk or, with --kernel, starts a bzImage" };
    private static readonly Option<string[]> s_disks = new("--disk")
    {
        HelpName = DiskShape,
        Description = "Image of a disk, by virtio or, with firmware, IDE; may be given again",
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<string[]> s_shares = new("--share")
    {
        HelpName = ShareOption.Shape,
        Description = "Folder of this host to appear at a place in the guest; may be given again",
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<string[]> s_net = new("--net")
    {
        HelpName = NetworkOption.Shape,
        Description = "What the network card is plugged into: a network of its own that needs no rights on the host; none for no card; may be given again",
        DefaultValueFactory = _ => ["user"],
    };

    private static readonly Option<string[]> s_publish = new("--publish")
    {
        HelpName = PortForward.Shape,
        Description = "Port of the host's that is the guest's, of 127.0.0.1 unless another address is given; may be given again",
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<string?> s_vsock = new("--vsock")
    {
        HelpName = VsockOption.Shape,
        Description = "Sockets between guest and host (vsock): this one leads to the guest's ports, PATH_PORT is a port of the host's",
    };

    private static readonly Option<string[]> s_ports = new("--port")
    {
        HelpName = PortOption.Shape,
        Description = "Port by name for a program in the guest, such as a guest agent (/dev/virtio-ports/NAME), and the socket of this host's that leads there; may be given again",
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<string?> s_cdrom = new("--cdrom") { HelpName = "FILE", Description = "Image of a CD for the firmware to boot from" };
    private static readonly Option<string?> s_floppy = new("--floppy") { HelpName = FloppyShape, Description = "Raw image of a floppy, which firmware boots from first" };
    private static readonly Option<string[]> s_modules = new("--module")
    {
        HelpName = "'FILE TEXT'",
        Description = "File and arguments for a Multiboot kernel, a path with a blank in double quotes; may be given again",
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<string?> s_append = new("--append")
    {
        HelpName = "TEXT",
        Description = $"Kernel command line [default: {KernelCommandLine.Default} for Linux, and for the default guest also quiet mitigations=off]",
    };

    private static readonly Option<string> s_memory = new("--memory") { HelpName = "SIZE", Description = "Guest memory, in K, M or G", DefaultValueFactory = _ => "512M" };
    private static readonly Option<string> s_cpus = new("--cpus") { HelpName = "N", Description = "Processors", DefaultValueFactory = _ => "1" };
    private static readonly Option<string> s_engine = new("--engine") { HelpName = "NAME", Description = "What runs guest code: translate", DefaultValueFactory = _ => "translate" };
    private static readonly Option<string> s_direct = new("--direct")
    {
        HelpName = "auto|off|always",
        Description = "Run user code on the processor itself, in a process of its own: while that is faster, never, or whenever it can be",
        DefaultValueFactory = _ => "auto",
    };

    private static readonly Option<string> s_console = new("--console")
    {
        HelpName = "stdio|virtio|vga|FILE|none",
        Description = "Where the serial port goes; virtio: a virtio console on this terminal, which follows its size; vga: a text screen and a keyboard; on a terminal, Ctrl-A x ends the machine and Ctrl-A h helps",
        DefaultValueFactory = _ => "stdio",
    };

    private static readonly Option<string[]> s_devices = new("--device")
    {
        HelpName = "NAME[,KEY=VALUE]",
        Description = $"Add a device for test guests: {DeviceOption.Shape}; may be given again",
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<bool> s_stats = new("--stats") { Description = "At the end, print what the engine and the devices did" };
    private static readonly Option<string?> s_trace = new("--trace") { HelpName = "FILE", Description = "Write executed blocks and exceptions to a file" };
    private static readonly Option<string?> s_gdb = new("--gdb") { HelpName = "PORT", Description = "Wait for gdb on this TCP port of the loopback before the first instruction" };

    private static readonly Option<string> s_logLevel = new("--log-level")
    {
        HelpName = "trace|debug|info|warning|error|none",
        Description = "The least level of what is logged, on standard error or in a machine's monitor.log",
        DefaultValueFactory = _ => "warning",
    };

    private static readonly Option<bool> s_logJson = new("--log-json") { Description = "Log JSON, an object a line, and why the machine ended too" };

    /// <summary>The command, for the command line to put in its list.</summary>
    public static Command Create()
    {
        string description = $"""
            Boots a virtual machine: a whole system of a recipe, such as debian; or a kernel; or without either a small Debian guest, made on first use.

            Exit codes: {ExitCodes.Success} the guest powered off; {ExitCodes.BadInput} bad input, nothing ran; {ExitCodes.GuestPanic} the guest's kernel panicked;
            {ExitCodes.TripleFault} the guest's processor shut down (triple fault); {ExitCodes.EndedByUser} ended by the user (Ctrl-A x); 128+n ended by signal n; {ExitCodes.Internal} a fault of yado, or output that can't be written;
            with --device debug-exit, 2c+1 after a guest wrote c there.
            """;
        var command = new Command("run", description)
        {
            s_kernel, s_initrd, s_modules, s_append, s_firmware, s_disks, s_shares, s_vsock, s_ports, s_net, s_publish, s_cdrom, s_floppy, s_memory, s_cpus, s_engine, s_direct, s_console, s_devices, s_stats, s_trace, s_gdb, s_logLevel, s_logJson,
        };
        RequestOptions.AddTo(command);
        command.SetAction(result =>
        {
            RunOptions options = Read(result, MemorySize.OfHost());
            return RequestOptions.Read(result, options) is { } request
                ? Runner.Create(request, options, [.. result.Tokens.Skip(1).Select(t => t.Value)])
                : Runner.Run(options);
        });
        return command;
    }

    /// <summary>Runs what these options say.</summary>
    public static MachineRun Runner => new(Parse, new ShownWork());

    private static RunOptions Parse(IReadOnlyList<string> arguments) => Read(Create().Parse(arguments), MemorySize.OfHost());

    /// <summary>Turns a parsed command line into options.</summary>
    /// <param name="result">Parsed without errors.</param>
    /// <param name="hostMemory">The memory of the host in bytes.</param>
    /// <exception cref="UserErrorException">A value that can't be.</exception>
    public static RunOptions Read(ParseResult result, ulong hostMemory) => new()
    {
        Kernel = CheckPath("--kernel", result.GetValue(s_kernel)),
        Initrd = CheckPath("--initrd", result.GetValue(s_initrd)),
        Firmware = CheckFirmware(result),
        Disks = [.. result.GetValue(s_disks)!.Select(ParseDisk)],
        Shares = [.. result.GetValue(s_shares)!.Select(ShareOption.Parse)],
        Networks = NetworkOption.Parse(result.GetValue(s_net)!, result.GetValue(s_publish)!),
        Vsock = VsockOption.Parse(result.GetValue(s_vsock)),
        Ports = [.. result.GetValue(s_ports)!.Select(PortOption.Parse)],
        Cdrom = CheckPath("--cdrom", result.GetValue(s_cdrom)),
        Floppy = ParseFloppy(result.GetValue(s_floppy)),
        Modules = CheckModules(result.GetValue(s_modules)!),
        Append = CheckAppend(result.GetValue(s_append)),
        Memory = MemorySize.Parse(result.GetValue(s_memory)!, hostMemory),
        Cpus = ParseCpus(result.GetValue(s_cpus)!),
        Engine = Engines.CheckName(result.GetValue(s_engine)!),
        Direct = Engines.ParseDirect(result.GetValue(s_direct)!),
        Console = result.GetValue(s_console) is var console && console == VirtioConsole ? "stdio" : console!,
        HasVirtioConsole = console == VirtioConsole,
        DebugPorts = DeviceOption.Parse(result.GetValue(s_devices)!),
        Stats = result.GetValue(s_stats),
        Trace = result.GetValue(s_trace),
        LogLevel = ParseLogLevel(result.GetValue(s_logLevel)!),
        LogJson = result.GetValue(s_logJson),
        GdbPort = result.GetValue(s_gdb) is { } port ? ParsePort(port) : null,
    };

    private static string? CheckPath(string option, string? path) => path is not { Length: 0 }
        ? path
        : throw new UserErrorException($"{option} names no file: give the path of one.");

    private static string? CheckFirmware(ParseResult result)
    {
        string? firmware = CheckPath("--firmware", result.GetValue(s_firmware));
        bool kernel = result.GetValue(s_kernel) is not null;
        bool forKernel = result.GetValue(s_initrd) is not null || result.GetValue(s_append) is not null;
        bool cdrom = result.GetValue(s_cdrom) is not null;
        return firmware is not null && !kernel && forKernel ? throw new UserErrorException("--initrd and --append are for a kernel, and --firmware starts without one: leave them out, or give --kernel too.")
            : firmware is null && cdrom ? throw new UserErrorException("--cdrom is for firmware to boot from: give --firmware too, such as SeaBIOS's bios.bin.")
            : firmware;
    }

    private static DiskConfig ParseDisk(string text)
    {
        DiskConfig disk = ParseFile("--disk", text, out string[] settings);
        foreach (string setting in settings)
        {
            disk = setting switch
            {
                "ro" => disk with { ReadOnly = true },
                "snapshot" => disk with { Snapshot = true },
                "format=raw" => disk with { Format = DiskFormat.Raw },
                "format=qcow2" => disk with { Format = DiskFormat.Qcow2 },
                "bus=virtio" => disk with { Bus = DiskBus.Virtio },
                "packed" => disk with { Packed = true },
                "bus=ide" => disk with { Bus = DiskBus.Ide },
                _ => throw new UserErrorException($"--disk {text} has a setting '{setting}' that is not known: give {DiskShape}."),
            };
        }

        return CheckRights("--disk", text, disk);
    }

    private static DiskConfig? ParseFloppy(string? text)
    {
        if (text is null)
        {
            return null;
        }

        DiskConfig floppy = ParseFile("--floppy", text, out string[] settings);
        foreach (string setting in settings)
        {
            floppy = setting switch
            {
                "ro" => floppy with { ReadOnly = true },
                "snapshot" => floppy with { Snapshot = true },
                _ => throw new UserErrorException($"--floppy {text} has a setting '{setting}' that is not known: give {FloppyShape}."),
            };
        }

        return CheckRights("--floppy", text, floppy);
    }

    private static DiskConfig ParseFile(string option, string text, out string[] settings)
    {
        const string path = "path=";
        string[] parts = text.Split(',');
        string file = parts[0].StartsWith(path, StringComparison.Ordinal) ? parts[0][path.Length..] : parts[0];
        settings = parts[1..];
        return file.Length > 0 ? new DiskConfig(file) : throw new UserErrorException($"{option} names no file: give the path of one.");
    }

    private static DiskConfig CheckRights(string option, string text, DiskConfig disk) => disk is not { ReadOnly: true, Snapshot: true }
        ? disk
        : throw new UserErrorException($"{option} {text} has both ro and snapshot: with snapshot the image is only read, too; leave one out.");

    private static string[] CheckModules(string[] modules)
    {
        Array.ForEach(modules, m => ModuleText.Parse(m));
        return modules;
    }

    private static string? CheckAppend(string? text) => text is null || !text.Contains('\n')
        ? text
        : throw new UserErrorException("--append has a line break in it, which no kernel command line can have: write it on one line.");

    private static int ParseCpus(string text) =>
        !int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int cpus)
            ? throw new UserErrorException($"--cpus {UserText.Shown(text)} is not a number of processors: give --cpus 1.")
        : cpus == 0 ? throw new UserErrorException("--cpus 0 leaves nothing to run the guest: give --cpus 1.")
        : cpus > PcLayout.MaxCpus ? throw new UserErrorException($"--cpus {text} is more than a machine can have: give a number from 1 to {PcLayout.MaxCpus}.")
        : cpus;

    private static LogLevel ParseLogLevel(string word) => word switch
    {
        "trace" => LogLevel.Trace,
        "debug" => LogLevel.Debug,
        "info" => LogLevel.Information,
        "warning" => LogLevel.Warning,
        "error" => LogLevel.Error,
        "none" => LogLevel.None,
        _ => throw new UserErrorException($"--log-level {UserText.Shown(word)} is not a level: give {s_logLevel.HelpName!.Replace("|", ", ", StringComparison.Ordinal)}."),
    };

    private static int ParsePort(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int port) && port is >= 1 and <= 65535
            ? port
            : throw new UserErrorException($"--gdb {UserText.Shown(text)} is not a TCP port: give a number from 1 to 65535, as in --gdb 1234.");
}
