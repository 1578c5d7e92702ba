using System.CommandLine;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado monitor</c>: the process that <c>--detach</c> starts in the background. Not for users.</summary>
internal static class MonitorCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string> name = MachineArgument.One();
        var remove = new Option<bool>("--rm");
        var command = new Command("monitor", "Runs a machine in the background.") { name, remove };
        command.Hidden = true;
        command.SetAction(result => RunCommand.Runner.Monitor(MachineFolder.Find(result.GetValue(name)!), result.GetValue(remove)));
        return command;
    }
}
