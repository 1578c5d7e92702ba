using System.CommandLine;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado kill</c>: cuts a machine's power.</summary>
internal static class KillCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string[]> names = MachineArgument.Several();
        var command = new Command("kill", "Cuts machines' power. Data that a guest has not written to its disk is lost.") { names };
        command.SetAction(result =>
        {
            foreach (MachineFolder machine in MachineArgument.Find(result.GetValue(names)!))
            {
                new MachineControl(machine).Kill();
                StandardStreams.Output.WriteLine(machine.Name);
            }

            return ExitCodes.Success;
        });
        return command;
    }
}
