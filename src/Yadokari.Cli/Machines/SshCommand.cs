using System.CommandLine;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado ssh</c>: a shell in a machine, or one command.</summary>
internal static class SshCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string> name = MachineArgument.One();
        var words = new Argument<string[]>("COMMAND") { Arity = ArgumentArity.ZeroOrMore, Description = "Command to run instead of a shell, after --" };
        var command = new Command("ssh", "Logs in to a running machine, or runs a command in it: yado ssh NAME -- uname -a.") { name, words };
        command.SetAction(result =>
        {
            MachineFolder machine = MachineFolder.Find(result.GetValue(name)!);
            return SshTool.Run("ssh", [.. SshTool.Options(machine, "-p"), $"{CloudSeed.User}@127.0.0.1", .. result.GetValue(words)!]);
        });
        return command;
    }
}
