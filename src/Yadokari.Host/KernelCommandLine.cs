using Yadokari.Boards.Pc;
using Yadokari.Boards.Specs;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host;

/// <summary>What the guest's kernel is told: the user's text as it is, or a default.</summary>
public static class KernelCommandLine
{
    /// <summary>Puts it together.</summary>
    /// <param name="options">May hold a text of the user's.</param>
    /// <param name="size">Rows and columns of the terminal, if there is one.</param>
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

        // The kernel hands words that it does not know to init as its environment.
        return options.IsDefaultGuest && options.Console == "stdio" && size is var (rows, columns)
            ? $"{text} TERM={TerminalType()} LINES={rows} COLUMNS={columns}"
            : text;
    }

    /// <summary>A word by which the default guest's init knows what to mount; empty where there is nothing.</summary>
    private static string SharesWord(ShareSpec[] shares) =>
        shares.Length == 0 ? "" : " SHARES=" + string.Join(':', shares.Select(s => s.ReadOnly ? s.Tag + ",ro" : s.Tag));

    private static string TerminalType() =>
        Environment.GetEnvironmentVariable("TERM") is { Length: > 0 and < 40 } type && type.All(c => char.IsAsciiLetterOrDigit(c) || c == '-') ? type : "linux";
}
