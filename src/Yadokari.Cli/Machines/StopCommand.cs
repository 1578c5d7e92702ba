using System.CommandLine;
using System.Globalization;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado stop</c>: presses the power button, and cuts the power if the guest does not power off.</summary>
internal static class StopCommand
{
    private const string DefaultTime = "90";

    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string[]> names = MachineArgument.Several();
        var time = new Option<string>("--time", "-t") { HelpName = "SECONDS", Description = "How long the guest may take to power off before the power is cut", DefaultValueFactory = _ => DefaultTime };
        var command = new Command("stop", "Stops machines by the power button; cuts their power after a time.") { names, time };
        command.SetAction(result =>
        {
            string text = result.GetValue(time)!;
            if (!uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out uint seconds))
            {
                throw new UserErrorException($"--time {UserText.Shown(text)} is not a number of seconds: give one, as in --time {DefaultTime}.");
            }

            foreach (MachineFolder machine in MachineArgument.Find(result.GetValue(names)!))
            {
                if (!new MachineControl(machine).Stop(TimeSpan.FromSeconds(seconds)))
                {
                    StandardStreams.Error.WriteLine($"yado: {machine.Name} has not powered off within {seconds} s: its power was cut.");
                }

                StandardStreams.Output.WriteLine(machine.Name);
            }

            return ExitCodes.Success;
        });
        return command;
    }
}
