using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado balloon</c>: takes memory from a running machine and gives it back.</summary>
internal static class BalloonCommand
{
    // The wait ends when the guest's memory has not changed for this time.
    private static readonly TimeSpan s_quietPeriod = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_between = TimeSpan.FromMilliseconds(100);

    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        Argument<string> name = MachineArgument.One();
        var size = new Argument<string?>("SIZE") { Arity = ArgumentArity.ZeroOrOne, Description = "Memory that the guest should have, in M or G; the rest returns to the host" };
        var command = new Command("balloon", "Shows how much memory a running machine's guest has, or sets how much it should have, at most the machine's memory.") { name, size };
        command.SetAction(result =>
        {
            MachineFolder machine = MachineFolder.Find(result.GetValue(name)!);
            var control = new MachineControl(machine);
            (ulong now, ulong target, ulong full) = control.Balloon();
            if (result.GetValue(size) is { } text)
            {
                target = Parse(text, full);
                now = Wait(control, target);
            }

            StandardStreams.Output.WriteLine($"{machine.Name} has {ByteSize.Show(now)} of {ByteSize.Show(full)}{(now == target ? "" : $"; it should have {ByteSize.Show(target)}, and its balloon driver, if it has one, has not followed")}");
            return ExitCodes.Success;
        });
        return command;
    }

    private static ulong Parse(string text, ulong full) =>
        !ByteSize.TryParse(text, out ulong size) ? throw new UserErrorException($"SIZE {UserText.Shown(text)} is not a size: write a whole number with K, M or G, as in 512M.")
        : size < BalloonRequests.Least || size > full || size % 4096 != 0
            ? throw new UserErrorException($"SIZE {text} is out of range: give a multiple of 4K from {ByteSize.Show(BalloonRequests.Least)} to {ByteSize.Show(full)}.")
        : size;

    private static ulong Wait(MachineControl control, ulong wanted)
    {
        (ulong now, _, _) = control.Balloon(wanted);
        long moved = Stopwatch.GetTimestamp();
        while (now != wanted && Stopwatch.GetElapsedTime(moved) < s_quietPeriod)
        {
            Thread.Sleep(s_between);
            (ulong then, (now, _, _)) = (now, control.Balloon());
            moved = now == then ? moved : Stopwatch.GetTimestamp();
        }

        return now;
    }
}
