using System.CommandLine;
using Yadokari.Core;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado cp</c>: copies between the host and a machine.</summary>
internal static class CopyCommand
{
    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        var from = new Argument<string>("SRC") { Description = "A path, or NAME:PATH in a machine" };
        var to = new Argument<string>("DST") { Description = "A path, or NAME:PATH in a machine; one of the two has a NAME" };
        var command = new Command("cp", "Copies files and folders to or from a running machine.") { from, to };
        command.SetAction(result =>
        {
            var source = Place.Parse(result.GetValue(from)!);
            var target = Place.Parse(result.GetValue(to)!);
            if ((source.Machine is null) == (target.Machine is null))
            {
                throw new UserErrorException("yado cp copies between the host and one machine: write one of the two as NAME:PATH.");
            }

            var machine = MachineFolder.Find((source.Machine ?? target.Machine)!);
            return SshTool.Run("scp", ["-r", .. SshTool.Options(machine, "-P"), source.ForScp, target.ForScp]);
        });
        return command;
    }

    /// <summary>A path on the host, or in a machine.</summary>
    internal readonly record struct Place(string? Machine, string Path)
    {
        /// <summary>Parses a path. A colon after a slash is part of a host path.</summary>
        public static Place Parse(string text)
        {
            int colon = text.IndexOf(':');
            return colon > 0 && !text[..colon].Contains('/') ? new Place(text[..colon], text[(colon + 1)..]) : new Place(null, text);
        }

        /// <summary>The path in scp's syntax, in which a host path with a colon needs a slash before it.</summary>
        public string ForScp => Machine is not null ? $"{CloudSeed.User}@127.0.0.1:{Path}" : Path.Contains('/') ? Path : "./" + Path;
    }
}
