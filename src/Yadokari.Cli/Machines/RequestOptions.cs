using System.CommandLine;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Host.Instances;
using Yadokari.Host.Recipes;

namespace Yadokari.Cli.Machines;

/// <summary>The options of <c>yado run</c> that select a system and a name.</summary>
internal static class RequestOptions
{
    // Measured: with 144M and one processor the system boots; with 128M its kernel deadlocks for lack of memory while it unpacks the initial RAM disk.
    private const ulong LeastMemory = 160UL << 20;

    private static readonly Argument<string?> s_recipe = new("RECIPE")
    {
        Arity = ArgumentArity.ZeroOrOne,
        Description = "A complete system, made once and cached: debian, or a file with a recipe (suite, mirror, packages, kernel, size)",
    };

    private static readonly Option<string?> s_name = new("--name") { HelpName = "NAME", Description = "Keep the machine under this name; a recipe's system always has one" };
    private static readonly Option<bool> s_detach = new("--detach", "-d") { Description = "Run in the background: see yado ls, logs, console, ssh, stop" };
    private static readonly Option<bool> s_remove = new("--rm") { Description = "Remove the machine when it ends" };
    private static readonly Option<string?> s_userData = new("--user-data") { HelpName = "FILE", Description = "Data for cloud-init: a cloud-config in YAML, or a script" };
    private static readonly Option<string?> s_diskSize = new("--disk-size") { HelpName = "SIZE", Description = "Size of the machine's disk, in M, G or T [default: the recipe's, 8G]" };

    /// <summary>Adds the options to a command.</summary>
    public static void AddTo(Command command)
    {
        command.Add(s_recipe);
        command.Add(s_name);
        command.Add(s_detach);
        command.Add(s_remove);
        command.Add(s_userData);
        command.Add(s_diskSize);
    }

    /// <summary>Reads the request; null for a machine without a name, of which nothing is kept.</summary>
    /// <exception cref="UserErrorException">The value of an option is not valid, or options exclude each other.</exception>
    public static MachineRequest? Read(ParseResult result, RunOptions options)
    {
        string? recipe = result.GetValue(s_recipe);
        string? name = result.GetValue(s_name);
        bool detach = result.GetValue(s_detach);
        bool remove = result.GetValue(s_remove);
        string? userData = result.GetValue(s_userData);
        string? diskSize = result.GetValue(s_diskSize);
        if (recipe is ['-', ..])
        {
            throw new UserErrorException($"'{recipe}' is not an option or recipe: 'yado run --help' lists those that are valid.");
        }

        if (name is not null)
        {
            MachineName.Check(name);
        }

        if (recipe is null)
        {
            string? option = userData is not null ? "--user-data" : diskSize is not null ? "--disk-size" : null;
            if (option is not null)
            {
                throw new UserErrorException($"{option} is for a system of a recipe: name one, as in yado run debian {option} ....");
            }

            if (name is null && !detach)
            {
                return remove ? throw new UserErrorException("--rm is for machines with a name: leave it out, nothing is kept of this one.") : null;
            }
        }
        else if (options.Kernel is not null || options.Initrd is not null || options.Firmware is not null || options.Modules.Count > 0)
        {
            throw new UserErrorException($"The recipe {recipe} brings a kernel: leave --kernel, --initrd, --module and --firmware out.");
        }
        else
        {
            options.CheckMemoryFor("a whole system", LeastMemory);
        }

        if (detach && options.HasScreen)
        {
            throw new UserErrorException("--console vga needs a terminal, and a machine in the background has none: leave --detach out.");
        }

        Recipe? found = recipe is null ? null : Recipe.Find(recipe);
        long? size = diskSize is null ? null : DiskSize.Parse("--disk-size", diskSize);
        return size < found?.Size
            ? throw new UserErrorException($"--disk-size {diskSize} is less than the recipe's {DiskSize.Show(found.Size)}: give that or more.")
            : new MachineRequest(found, name, detach, remove, userData is null ? null : UserData.Read(userData), size);
    }
}
