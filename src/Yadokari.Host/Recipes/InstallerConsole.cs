using System.Text;
using Yadokari.Devices.Serial;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host.Recipes;

/// <summary>
/// Parses the installer's console output and reports its progress: lines of <see cref="InstallerRoot"/>'s script, and dpkg's status lines
/// (dpkg(1), <c>--status-fd</c>). A vCPU's thread writes; the properties are read after the run. Guest output is not trusted: text is limited
/// in length and stripped of control characters.
/// </summary>
/// <param name="progress">Receives progress.</param>
/// <param name="essential">Count of packages in the base system.</param>
/// <param name="others">Count of packages that follow.</param>
internal sealed class InstallerConsole(IProgressReport progress, int essential, int others) : IConsole
{
    private const int LongestLine = 1000;

    private readonly List<byte> _line = [];
    private int _handled;
    private int _total;

    /// <summary>Whether the system is installed.</summary>
    public bool IsDone { get; private set; }

    /// <summary>The error that the installer reported; null for none.</summary>
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
        // 'processing: STAGE: PACKAGE'. The count of triggers is not known in advance, and they may take the longest.
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
            "base" => ("installing the base system", 2 * essential), // Two steps each: unpacking and configuring.
            "unpacking" => ("unpacking packages", others),
            "configuring" => ("configuring packages", others),
            "finishing" => ("finishing the image", 0),
            _ => (said, 0),
        };
        progress.Step(step);
    }
}
