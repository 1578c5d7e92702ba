using Xunit;
using Yadokari.Linux;

namespace Yadokari.Cli.Tests;

/// <summary>Raw mode, on a pseudo-terminal.</summary>
public sealed class TerminalTests : IDisposable
{
    private readonly PseudoTerminal _terminal = new();

    public void Dispose() => _terminal.Dispose();

    private string Stty(params string[] arguments) => _terminal.Stty(arguments);

    [Fact]
    public void Raw_and_back_again()
    {
        string before = Stty("-g");
        using (var terminal = Terminal.TryOpenRaw(_terminal.Descriptor))
        {
            Assert.NotNull(terminal);
            string raw = Stty("-a");
            foreach (string mode in (string[])["-icanon", "-isig", "-echo", "-ixon", "-icrnl", "-opost", "cs8"])
            {
                Assert.Contains(mode, raw);
            }

            // As after a stop and a shell that put its own mode back.
            Stty("sane");
            terminal.Reapply();
            Assert.Equal(raw, Stty("-a"));
        }

        Assert.Equal(before, Stty("-g"));
    }

    [Fact]
    public void Restoring_twice_and_reapplying_after_it_change_nothing()
    {
        string before = Stty("-g");
        Terminal terminal = Terminal.TryOpenRaw(_terminal.Descriptor)!;
        terminal.Restore();
        terminal.Restore();
        terminal.Reapply();
        Assert.Equal(before, Stty("-g"));
    }

    [Fact]
    public void Its_size()
    {
        Stty("rows", "33", "cols", "111");
        Assert.Equal((33, 111), Terminal.Size(_terminal.Descriptor));
    }

    [Fact]
    public void A_file_is_no_terminal()
    {
        using FileStream file = File.OpenRead("/proc/self/maps");
        Assert.False(Terminal.IsTerminal(PseudoTerminal.DescriptorOf(file)));
        Assert.Null(Terminal.TryOpenRaw(PseudoTerminal.DescriptorOf(file)));
        Assert.Null(Terminal.Size(PseudoTerminal.DescriptorOf(file)));
        Assert.True(Terminal.IsTerminal(_terminal.Descriptor));
    }
}
