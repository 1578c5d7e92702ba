using System.Text;
using Yadokari.Devices.Serial;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host.Recipes;

/// <summary>
/// Reads what the installer says on its console, and reports it: lines of <see cref="InstallerRoot"/>'s script, and dpkg's status lines
/// (dpkg(1), <c>--status-fd</c>). A vCPU's thread writes; the maker reads after the run. What a guest says is not trusted: it has a bounded
/// length and no control characters.
/// </summary>
/// <param name="progress">Is told what happens.</param>
/// <param name="essential">How many packages make the base system.</param>
/// <param name="others">How many come after it.</param>
internal sealed class InstallerConsole(IProgressReport progress, int essential, int others) : IConsole
{
    private const int LongestLine = 1000;

    private readonly List<byte> _line = [];
    private int _handled;
    private int _total;

    /// <summary>Whether the system is installed.</summary>
    public bool IsDone { get; private set; }

    /// <summary>What failed; null for nothing so far.</summary>
    public string? Failure { get; private set; }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes)
        {
            if (b == '\n')
            {
                Line(string.Concat(Encoding.UTF8.GetString([.. _line]).Where(c => !char.IsControl(c))).Trim());
                _line.Clear();
            }
            else if (_line.Count < LongestLine)
            {
                _line.Add(b);
            }
        }
    }

    private void Line(string line)
    {
        // 'processing: STAGE: PACKAGE'. What packages do by triggers is not known before, and may take the longest.
        if (line.StartsWith("processing: ", StringComparison.Ordinal))
        {
            if (line.Split(": ", 3) is [_, { } stage, { } package])
            {
                bool triggered = stage == "trigproc";
                _handled += triggered ? 0 : 1;
                progress.Detail(triggered ? $"{package} (triggers)" : package);
                progress.Fraction(Math.Min(1, _handled / (double)Math.Max(1, _total)));
            }

            return;
        }

        if (line.StartsWith("status: ", StringComparison.Ordinal))
        {
            return;
        }

        if (Failure is not null && line.Contains("error", StringComparison.OrdinalIgnoreCase))
        {
            Failure += $"; {line.TrimEnd('.')}";
        }

        if (!line.StartsWith(InstallerRoot.Mark, StringComparison.Ordinal))
        {
            return;
        }

        string said = line[InstallerRoot.Mark.Length..];
        IsDone |= line == InstallerRoot.Done;
        if (said.StartsWith("failed: ", StringComparison.Ordinal))
        {
            Failure = said["failed: ".Length..];
        }

        _handled = 0;
        (string step, _total) = said switch
        {
            "extracting" => ("starting the installer", 0),
            "base" => ("installing the base system", 2 * essential), // Each is unpacked and configured.
            "unpacking" => ("unpacking packages", others),
            "configuring" => ("configuring packages", others),
            "finishing" => ("finishing the image", 0),
            _ => (said, 0),
        };
        progress.Step(step);
    }
}
