using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Yadokari.Boards.Specs;
using Yadokari.Cli.Machines;
using Yadokari.Cli.Progress;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Host;
using Yadokari.Host.Instances;
using Yadokari.Networks;

namespace Yadokari.Cli;

/// <summary><c>yado run</c>: its options and their values.</summary>
internal static class RunCommand
{
    private const string Again = "; may be given again";

    // Far more than any machine needs; a device such as /dev/zero has no end.
    private const int MaxSpecLength = 1 << 20;

    private static readonly Option<string?> s_spec = new("--spec") { HelpName = "FILE", Description = "Specification of the machine in JSON, as 'yado inspect' prints it; options override its members ('yado inspect --schema' describes it)" };

    // An option for each member, and one for each kind of device. Their names, grammar and help are part of the specification.
    private static readonly Dictionary<SpecMember<MachineSpec>, Option> s_members = MachineSpec.Members.ToDictionary(member => member, OptionOf);

    private static readonly Dictionary<DeviceKind, Option> s_devices = MachineSpec.Kinds.ToDictionary(kind => kind, kind => (Option)new Option<string[]>(kind.Option)
    {
        HelpName = kind.Shape,
        Description = kind.Repeats ? kind.Help + Again : kind.Help,
        DefaultValueFactory = _ => kind == NetworkSpec.Networks ? ["user"] : [],
        Arity = ArgumentArity.ZeroOrMore,
        AllowMultipleArgumentsPerToken = false,
    });

    private static readonly Option<string[]> s_publish = new("--publish")
    {
        HelpName = PortForward.Shape,
        Description = "Forwards a host port to the guest; listens on 127.0.0.1 unless another address is given; may be given again",
        DefaultValueFactory = _ => [],
    };

    private static readonly Option<bool> s_stats = new("--stats") { Description = "At the end, print counters of the engine and the devices" };
    private static readonly Option<string?> s_trace = new("--trace") { HelpName = "FILE", Description = "Write a trace of executed blocks and exceptions to a file" };
    private static readonly Option<string?> s_gdb = new("--gdb") { HelpName = "PORT", Description = "Wait for gdb on this TCP port of the loopback before the first instruction" };

    private static readonly Option<string> s_logLevel = new("--log-level")
    {
        HelpName = "trace|debug|info|warning|error|none",
        Description = "The lowest level that is logged, on standard error or in a machine's monitor.log",
        DefaultValueFactory = _ => "warning",
    };

    private static readonly Option<bool> s_logJson = new("--log-json") { Description = "Write the log, and the reason why the machine ended, as JSON, an object a line" };

    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        string description = $"""
            Boots a virtual machine: a whole system of a recipe, such as debian; or a kernel; or without either a small Debian guest, made on first use.

            Exit codes: {ExitCodes.Success} the guest powered off; {ExitCodes.BadInput} bad input, nothing ran; {ExitCodes.GuestPanic} the guest's kernel panicked;
            {ExitCodes.TripleFault} the guest's processor shut down (triple fault); {ExitCodes.EndedByUser} ended by the user (Ctrl-A x); 128+n ended by signal n; {ExitCodes.Internal} an internal error, or output that can't be written;
            with --device debug-exit, 2c+1 after a guest wrote c there.
            """;
        var command = new Command("run", description);
        foreach (Option option in (IEnumerable<Option>)[s_spec, .. s_members.Values, .. s_devices.Values, s_publish, s_stats, s_trace, s_gdb, s_logLevel, s_logJson])
        {
            command.Add(option);
        }

        RequestOptions.AddTo(command);
        command.SetAction(result =>
        {
            RunOptions options = Read(result);
            return RequestOptions.Read(result, options) is { } request
                ? Runner.Create(request, options)
                : Runner.Run(options);
        });
        return command;
    }

    /// <summary>Runs machines with parsed options.</summary>
    public static MachineRun Runner => new(Parse, new ShownWork());

    // Arguments that an old yado stored with a machine.
    private static RunOptions Parse(IReadOnlyList<string> arguments)
    {
        ParseResult result = Create().Parse(arguments);
        return result.Errors is [var error, ..]
            ? throw new UserErrorException($"The machine's stored arguments are not valid ({error.Message.TrimEnd('.')}): remove the machine and make it again.")
            : Read(result);
    }

    /// <summary>Converts a parsed command line to options.</summary>
    /// <param name="result">A command line that was parsed without errors.</param>
    /// <exception cref="UserErrorException">The value of an option is not valid.</exception>
    public static RunOptions Read(ParseResult result)
    {
        // What a specification lacks, options may add; without any it is checked by itself, for its errors to name its members.
        bool isWhole = !s_members.Values.Concat(s_devices.Values).Any(option => Given(result, option) is not null);
        MachineSpec spec = result.GetValue(s_spec) is { } file ? ReadSpec(file, isWhole) : new MachineSpec { Devices = [new NetworkSpec()] };
        foreach ((SpecMember<MachineSpec> member, Option option) in s_members)
        {
            if (Given(result, option) is { } texts)
            {
                spec = Within("/" + member.Name, () => member.Parse(spec, texts));
            }
        }

        var options = new RunOptions(spec)
        {
            Engine = Engines.CheckName(spec.Engine),
            Devices = ReadDevices(result, spec.Devices),
            Stats = result.GetValue(s_stats),
            Trace = result.GetValue(s_trace),
            LogLevel = ParseLogLevel(result.GetValue(s_logLevel)!),
            LogJson = result.GetValue(s_logJson),
            GdbPort = result.GetValue(s_gdb) is { } port ? ParsePort(port) : null,
        };
        options.Check();
        return options;
    }

    private static Option OptionOf(SpecMember<MachineSpec> member) => member.Repeats
        ? new Option<string[]>(member.Option) { HelpName = member.Value, Description = member.Help + Again }
        : new Option<string?>(member.Option) { HelpName = member.Value, Description = member.Help, DefaultValueFactory = _ => member.Show(new MachineSpec()) };

    // The values that the user gave; null without the option.
    private static string[]? Given(ParseResult result, Option option) =>
        result.GetResult(option) is { Implicit: false } given ? [.. given.Tokens.Select(t => t.Value)] : null;

    private static MachineSpec ReadSpec(string path, bool isWhole)
    {
        if (string.IsNullOrWhiteSpace(path))
        {
            throw new UserErrorException($"--spec {UserText.Shown(path)} names no file: give one with a specification.");
        }

        try
        {
            MachineSpec spec = MachineSpec.Parse(ReadAtMost(path, MaxSpecLength));
            if (isWhole)
            {
                spec.Check();
            }

            return spec;
        }
        catch (ConfigurationException error)
        {
            throw new UserErrorException($"--spec {path}: {char.ToLowerInvariant(error.Message[0])}{error.Message[1..]}");
        }
        catch (UnauthorizedAccessException) when (Directory.Exists(path))
        {
            throw new UserErrorException($"--spec {path} is a folder: give a file with a specification.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new UserErrorException($"--spec {UserText.Shown(path)} can't be read ({error.Message.TrimEnd('.')}): give a file with a specification.");
        }
    }

    private static byte[] ReadAtMost(string path, int most)
    {
        using FileStream file = File.OpenRead(path);
        byte[] bytes = new byte[most + 1];
        int length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        return length <= most ? bytes[..length] : throw new UserErrorException($"--spec {UserText.Shown(path)} is more than {most >> 20} MiB: give a file with a specification.");
    }

    private static IReadOnlyList<DeviceSpec> ReadDevices(ParseResult result, IReadOnlyList<DeviceSpec> before)
    {
        List<DeviceSpec> devices = [];
        foreach ((DeviceKind kind, Option option) in s_devices)
        {
            if (Given(result, option) is not { } texts)
            {
                devices.AddRange(before.Where(d => d.Kind == kind));
                continue;
            }

            if (texts.Length > 1 && !kind.Repeats)
            {
                throw new UserErrorException($"{kind.Option} is given {texts.Length} times: give it once.");
            }

            if (kind == NetworkSpec.Networks && texts.Contains("none"))
            {
                texts = texts.Length > 1 ? throw new UserErrorException("--net none excludes other networks: leave it out, or leave the others out.") : [];
            }

            devices.AddRange(texts.Select(kind.Parse));
        }

        return Publish(devices, result.GetValue(s_publish)!);
    }

    // The first network that supports it publishes the ports.
    private static IReadOnlyList<DeviceSpec> Publish(List<DeviceSpec> devices, string[] ports)
    {
        if (ports.Length == 0)
        {
            return devices;
        }

        PortForward[] forwards = [.. ports.Select(text => Within("/networks/publish", () => PortForward.Parse(text)))];
        int own = devices.FindIndex(d => d is NetworkSpec { Network: not NetworkKind.Tap });
        if (own < 0)
        {
            throw new UserErrorException(devices.Any(d => d is NetworkSpec)
                ? $"--publish {ports[0]} needs a network of the monitor's own, and a TAP device is none: leave it out, and connect to the guest's address."
                : $"--publish {ports[0]} needs a network card: leave it out, or leave --net none out.");
        }

        var network = (NetworkSpec)devices[own];
        devices[own] = network with { Forwards = [.. network.Forwards, .. forwards] };
        return devices;
    }

    private static T Within<T>(string field, Func<T> parse)
    {
        try
        {
            return parse();
        }
        catch (ConfigurationException error)
        {
            throw error.Within(field);
        }
    }

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
