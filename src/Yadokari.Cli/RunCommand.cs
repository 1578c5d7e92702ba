using System.CommandLine;

namespace Yadokari.Cli;

/// <summary><c>yado run</c>: its options.</summary>
internal static class RunCommand
{
    public static Command Create()
    {
        var command = new Command("run", "Boots a virtual machine.");
        command.SetAction(int (_) => throw new Core.UserErrorException("'yado run' is being built; come back soon."));
        return command;
    }
}
