using Yadokari.Core.Engines;

namespace Yadokari.Cli;

/// <summary>Puts a board and an engine together.</summary>
internal static class GuestMachines
{
    /// <summary>Takes the guest's output.</summary>
    public delegate void TakeOutput(ReadOnlySpan<byte> output);

    /// <summary>Makes a machine, its kernel loaded, ready to run.</summary>
    /// <exception cref="Core.UserErrorException">Something can't be used.</exception>
    public static IGuestMachine Create(RunOptions options, string kernel, string? initrd, string commandLine, TakeOutput output)
    {
        IEngine engine = Engines.Create(options.Engine);
        throw new NotSupportedException($"{engine.Name}: no board yet for {kernel} {initrd} {commandLine} {output}");
    }
}
