using System.CommandLine;
using Yadokari.Core;

namespace Yadokari.Cli.Instances;

/// <summary><c>yado kill</c>: cuts a machine's power.</summary>
internal static class KillCommand
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    /// <summary>The command, for the command line to put in its list.</summary>
    public static Command Create()
    {
        Argument<string[]> names = MachineArgument.Several();
        var command = new Command("kill", "Cuts machines' power. What a guest has not written to its disk is lost.") { names };
        command.SetAction(result =>
        {
            foreach (MachineFolder machine in MachineArgument.Find(result.GetValue(names)!))
            {
                Kill(machine);
                StandardStreams.Output.WriteLine(machine.Name);
            }

            return ExitCodes.Success;
        });
        return command;
    }

    /// <summary>Cuts a machine's power and waits for its end; does nothing where it does not run.</summary>
    /// <exception cref="UserErrorException">It goes on.</exception>
    internal static void Kill(MachineFolder machine)
    {
        ControlClient.TryAsk(machine, "kill")?.Dispose();
        if (machine.WaitForEnd(s_patience))
        {
            return;
        }

        // A monitor that does not answer any more.
        if (!machine.TryKillMonitor() || !machine.WaitForEnd(s_patience))
        {
            throw new UserErrorException($"The machine {machine.Name} can't be ended: look for its monitor with 'ps'.");
        }
    }
}
