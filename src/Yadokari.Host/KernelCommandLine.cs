using Yadokari.Boards.Pc;
using Yadokari.Boards.Specs;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host;

/// <summary>The command line of the guest's kernel: the user's text unchanged, or a default.</summary>
public static class KernelCommandLine
{
    /// <summary>Builds the command line.</summary>
    /// <param name="options">May contain the user's text.</param>
    /// <param name="size">Rows and columns of the terminal; null without one.</param>
    internal static string Make(RunOptions options, (int Rows, int Columns)? size)
    {
        if (options.Append is not null)
        {
            return options.Append;
        }

        string text = options.IsDefaultGuest ? GuestMaker.CommandLine + SharesWord([.. options.Devices.OfType<ShareSpec>()]) : MachineSpec.DefaultAppend;
        if (options.HasScreen || options.HasVirtioConsole)
        {
            return options.OnConsole(text);
        }

        // The kernel passes parameters that it does not know to init, as environment variables.
        return options.IsDefaultGuest && options.Console == "stdio" && size is var (rows, columns)
            ? $"{text} TERM={TerminalType()} LINES={rows} COLUMNS={columns}"
            : text;
    }

    /// <summary>The parameter that tells the default guest's init which shared folders to mount; empty if there are none.</summary>
    private static string SharesWord(ShareSpec[] shares) =>
        shares.Length == 0 ? "" : " SHARES=" + string.Join(':', shares.Select(s => s.ReadOnly ? s.Tag + ",ro" : s.Tag));

    private static string TerminalType() =>
        Environment.GetEnvironmentVariable("TERM") is { Length: > 0 and < 40 } type && type.All(c => char.IsAsciiLetterOrDigit(c) || c == '-') ? type : "linux";
}
