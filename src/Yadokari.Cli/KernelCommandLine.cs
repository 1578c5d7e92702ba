using Yadokari.Cli.DefaultGuest;

namespace Yadokari.Cli;

/// <summary>What the guest's kernel is told: the user's text as it is, or a default.</summary>
internal static class KernelCommandLine
{
    /// <summary>For a kernel of the user's. With panic=-1 a panic resets at once, which ends the run.</summary>
    public const string Default = "console=ttyS0 panic=-1";

    private const string Screen = "console=tty0";
    private const string Serial = "console=ttyS0";

    /// <summary>Puts it together.</summary>
    /// <param name="options">May hold a text of the user's.</param>
    /// <param name="size">Rows and columns of the terminal, if there is one.</param>
    public static string Make(RunOptions options, (int Rows, int Columns)? size)
    {
        if (options.Append is not null)
        {
            return options.Append;
        }

        string own = GuestMaker.CommandLine + ShareOption.Word(options.Shares);
        if (options.HasScreen)
        {
            return (options.IsDefaultGuest ? own : Default).Replace(Serial, Screen, StringComparison.Ordinal);
        }

        if (!options.IsDefaultGuest)
        {
            return Default;
        }

        // The kernel hands words that it does not know to init as its environment.
        return options.Console == "stdio" && size is var (rows, columns)
            ? $"{own} TERM={TerminalType()} LINES={rows} COLUMNS={columns}"
            : own;
    }

    private static string TerminalType() =>
        Environment.GetEnvironmentVariable("TERM") is { Length: > 0 and < 40 } type && type.All(c => char.IsAsciiLetterOrDigit(c) || c == '-') ? type : "linux";
}
