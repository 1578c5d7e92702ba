using System.CommandLine;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado start</c>: runs a machine again.</summary>
internal static class StartCommand
{
    /// <summary>The command, for the command line to put in its list.</summary>
    public static Command Create()
    {
        Argument<string> name = MachineArgument.One();
        var attach = new Option<bool>("--attach", "-a") { Description = "Run it here, with its console, rather than in the background" };
        var command = new Command("start", "Starts a machine that has stopped, as it was made.") { name, attach };
        command.SetAction(result => RunCommand.Runner.Start(MachineFolder.Find(result.GetValue(name)!), result.GetValue(attach)));
        return command;
    }
}
