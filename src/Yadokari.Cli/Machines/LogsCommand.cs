using System.CommandLine;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado logs</c>: prints the output of a machine's console.</summary>
internal static class LogsCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string> name = MachineArgument.One();
        var follow = new Option<bool>("--follow", "-f") { Description = "Print new output until the machine ends" };
        var command = new Command("logs", "Prints the output of a machine's console, of all its runs.") { name, follow };
        command.SetAction(result => Show(MachineFolder.Find(result.GetValue(name)!), result.GetValue(follow)));
        return command;
    }

    private static int Show(MachineFolder machine, bool follow)
    {
        if (!File.Exists(machine.Log))
        {
            return ExitCodes.Success;
        }

        using FileStream log = new(machine.Log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        byte[] piece = new byte[1 << 16];
        while (true)
        {
            bool goesOn = follow && machine.IsRunning(); // Before the file is read: output of a machine that ends meanwhile is not missed.
            while (log.Read(piece) is int count and > 0)
            {
                if (StandardStreams.WriteOutput(piece.AsSpan(0, count)) != 0)
                {
                    return ExitCodes.Success; // The reader of standard output has closed it.
                }
            }

            if (!goesOn)
            {
                return ExitCodes.Success;
            }

            Thread.Sleep(100);
        }
    }
}
