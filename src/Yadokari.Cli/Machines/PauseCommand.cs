using System.CommandLine;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado pause</c> and <c>yado resume</c>: pause and resume machines.</summary>
internal static class PauseCommand
{
    /// <summary>Creates <c>yado pause</c>.</summary>
    public static Command CreatePause() =>
        Create("pause", "Pauses running machines: they use no processor time, and their clocks stop, until 'yado resume'.", control => control.Pause());

    /// <summary>Creates <c>yado resume</c>.</summary>
    public static Command CreateResume() => Create("resume", "Resumes paused machines.", control => control.Resume());

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
