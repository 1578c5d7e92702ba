using Yadokari.Cli.DefaultGuest;

namespace Yadokari.Cli;

/// <summary>What the guest's kernel is told.</summary>
internal static class KernelCommandLine
{
    /// <summary>Puts it together.</summary>
    /// <param name="options">May hold a text of the user's.</param>
    /// <param name="size">Rows and columns of the terminal, if there is one.</param>
    public static string Make(RunOptions options, (int Rows, int Columns)? size)
    {
        string text = options.Append ?? (options.IsDefaultGuest ? GuestMaker.CommandLine : "console=ttyS0");
        if (options.IsDefaultGuest && options.Append is null && options.Console == "stdio" && size is var (rows, columns))
        {
            // The kernel hands words that it does not know to init as its environment.
            text = $"{text} TERM={TerminalType()} LINES={rows} COLUMNS={columns}";
        }

        // A panicked kernel spins for ever unless told to reset, which is how the machine learns of it.
        bool saysPanic = text.Split(' ').Any(word => word.StartsWith("panic=", StringComparison.Ordinal));
        return saysPanic ? text : $"panic=-1 {text}".TrimEnd();
    }

    private static string TerminalType() =>
        Environment.GetEnvironmentVariable("TERM") is { Length: > 0 and < 40 } type && type.All(c => char.IsAsciiLetterOrDigit(c) || c == '-') ? type : "linux";
}
