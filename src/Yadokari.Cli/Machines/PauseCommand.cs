using System.CommandLine;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado pause</c> and <c>yado resume</c>: hold machines, and have them go on.</summary>
internal static class PauseCommand
{
    /// <summary><c>yado pause</c>, for the command line to put in its list.</summary>
    public static Command CreatePause() =>
        Create("pause", "Pauses machines that run: they use no processor time, and their clocks stand, until 'yado resume'.", control => control.Pause());

    /// <summary><c>yado resume</c>, for the command line to put in its list.</summary>
    public static Command CreateResume() => Create("resume", "Has paused machines go on from where they stood.", control => control.Resume());

    private static Command Create(string name, string description, Action<MachineControl> act)
    {
        Argument<string[]> names = MachineArgument.Several();
        var command = new Command(name, description) { names };
        command.SetAction(result =>
        {
            foreach (MachineFolder machine in MachineArgument.Find(result.GetValue(names)!))
            {
                act(new MachineControl(machine));
                StandardStreams.Output.WriteLine(machine.Name);
            }

            return ExitCodes.Success;
        });
        return command;
    }
}
