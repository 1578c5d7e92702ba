using System.CommandLine;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado console</c>: attaches to the console of a running machine.</summary>
internal static class ConsoleCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string> name = MachineArgument.One();
        var command = new Command("console", "Attaches to a machine's console; on a terminal, Ctrl-A x detaches.") { name };
        command.SetAction(result => Attach(MachineFolder.Find(result.GetValue(name)!)));
        return command;
    }

    private static int Attach(MachineFolder machine)
    {
        (DetachReason reason, int signal) = ConsoleAttachment.Run(machine, () => StandardStreams.Error.WriteLine(
            MachineRun.Greeting(machine, machine.ReadConfig()).Replace("ends it", "detaches", StringComparison.Ordinal)));
        switch (reason)
        {
            case DetachReason.Signalled:
                return ExitCodes.Signal(signal);
            case DetachReason.OutputFailed:
                return ExitCodes.Success; // The machine's own exit code is not known here.
            default:
                StandardStreams.Error.WriteLine(reason == DetachReason.Left ? $"\nyado: {machine.Name} runs on" : $"\nyado: {machine.Name} has ended");
                return ExitCodes.Success;
        }
    }
}
