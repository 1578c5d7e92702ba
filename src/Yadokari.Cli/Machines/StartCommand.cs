using System.CommandLine;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado start</c>: runs a machine again.</summary>
internal static class StartCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string> name = MachineArgument.One();
        var attach = new Option<bool>("--attach", "-a") { Description = "Run it in the foreground, with its console here" };
        var command = new Command("start", "Starts a stopped machine again.") { name, attach };
        command.SetAction(result => RunCommand.Runner.Start(MachineFolder.Find(result.GetValue(name)!), result.GetValue(attach)));
        return command;
    }
}
