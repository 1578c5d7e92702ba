using System.CommandLine;
using System.CommandLine.Parsing;
using Yadokari.Cli.Machines;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Host;
using Yadokari.Host.Consoles;

namespace Yadokari.Cli;

/// <summary>The <c>yado</c> command: its subcommands, and the handling of errors.</summary>
internal static class CommandLine
{
    /// <summary>Parses the arguments and runs the command. Returns the exit code; see <see cref="ExitCodes"/>.</summary>
    public static int Run(string[] args) => StandardStreams.Finish(RunCommands(args));

    private static int RunCommands(string[] args)
    {
        var root = new RootCommand("Runs whole, unmodified operating systems in virtual machines, without /dev/kvm and without root.")
        {
            RunCommand.Create(),
            ListCommand.Create(),
            InspectCommand.Create(),
            LogsCommand.Create(),
            ConsoleCommand.Create(),
            SshCommand.Create(),
            CopyCommand.Create(),
            StartCommand.Create(),
            PauseCommand.CreatePause(),
            PauseCommand.CreateResume(),
            StopCommand.Create(),
            BalloonCommand.Create(),
            KillCommand.Create(),
            RemoveCommand.Create(),
            MonitorCommand.Create(),
            AuditCommand.Create(),
            DiskCommand.Create(),
        };

        try
        {
            ParseResult result = root.Parse(args.Length == 0 ? ["--help"] : args);
            if (result.Errors.Count > 0)
            {
                string help = result.CommandResult.Command is RootCommand ? "yado --help" : $"yado {string.Join(' ', Names(result.CommandResult))} --help";
                string problem = result.UnmatchedTokens.Count > 0 ? $"'{result.UnmatchedTokens[0]}' is not a command or option here" : result.Errors[0].Message.TrimEnd('.');
                throw new UserErrorException($"{problem}: '{help}' lists those that are valid.");
            }

            return result.Invoke(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
                Output = StandardStreams.Output,
                Error = StandardStreams.Error,
            });
        }
        catch (ConfigurationException error)
        {
            StandardStreams.Error.WriteLine($"yado: {UserText.Printable(error.Describe(OptionNames.Of))}");
            return ExitCodes.BadInput;
        }
        catch (UserErrorException error)
        {
            StandardStreams.Error.WriteLine($"yado: {UserText.Printable(error.Message)}");
            return ExitCodes.BadInput;
        }
        catch (Exception error)
        {
            StandardStreams.Error.WriteLine($"yado: {UserText.Fault(error)}");
            return ExitCodes.Internal;
        }
    }

    private static IEnumerable<string> Names(CommandResult command) =>
        command.Parent is CommandResult { Command: not RootCommand } parent ? [.. Names(parent), command.Command.Name] : [command.Command.Name];
}
