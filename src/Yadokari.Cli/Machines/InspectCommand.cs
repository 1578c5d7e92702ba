using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado inspect</c>: prints a machine's specification.</summary>
internal static class InspectCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        var name = new Argument<string?>("NAME") { Arity = ArgumentArity.ZeroOrOne, Description = "A machine's name: 'yado ls' lists them" };
        var schema = new Option<bool>("--schema") { Description = "Print the JSON schema of specifications" };
        var command = new Command("inspect", "Prints a machine's specification in JSON, for 'yado run --spec'.") { name, schema };
        command.SetAction(result =>
        {
            string? machine = result.GetValue(name);
            StandardStreams.Output.WriteLine(result.GetValue(schema)
                ? machine is null ? MachineSpec.Schema().ToJsonString(s_indented) : throw new UserErrorException("--schema applies to all machines: leave the name out.")
                : Runner.SpecOf(MachineFolder.Find(machine ?? throw new UserErrorException("yado inspect has no machine: give a name that 'yado ls' lists, or --schema."))).ToJson());
            return ExitCodes.Success;
        });
        return command;
    }

    private static MachineRun Runner => RunCommand.Runner;
}
