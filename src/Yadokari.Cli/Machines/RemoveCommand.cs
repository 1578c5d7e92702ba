using System.CommandLine;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado rm</c>: removes machines with their disks.</summary>
internal static class RemoveCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string[]> names = MachineArgument.Several();
        var force = new Option<bool>("--force", "-f") { Description = "Remove running machines too: cuts their power" };
        var command = new Command("rm", "Removes machines, with their disks and logs.") { names, force };
        command.SetAction(result =>
        {
            foreach (MachineFolder machine in MachineArgument.Find(result.GetValue(names)!))
            {
                Remove(machine, result.GetValue(force));
                StandardStreams.Output.WriteLine(machine.Name);
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static void Remove(MachineFolder machine, bool force)
    {
        if (force)
        {
            new MachineControl(machine).Kill();
        }

        using FileStream taken = machine.TryLock()
            ?? throw new UserErrorException($"The machine {machine.Name} runs: 'yado stop {machine.Name}' stops it, 'yado rm -f {machine.Name}' cuts its power and removes it.");
        machine.Remove();
    }
}
