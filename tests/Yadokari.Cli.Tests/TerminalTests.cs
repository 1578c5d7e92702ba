using System.Diagnostics;
using System.Runtime.InteropServices;
using Xunit;
using Yadokari.Linux;

namespace Yadokari.Cli.Tests;

/// <summary>Raw mode, on a pseudo-terminal.</summary>
public sealed partial class TerminalTests : IDisposable
{
    private readonly FileStream _master;
    private readonly FileStream _slave;
    private readonly string _name;

    public TerminalTests()
    {
        _master = new FileStream("/dev/ptmx", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        int unlocked = 0;
        Assert.Equal(0, SetInt(Descriptor(_master), 0x40045431, in unlocked)); // TIOCSPTLCK
        Assert.Equal(0, GetInt(Descriptor(_master), 0x80045430, out int number)); // TIOCGPTN
        _name = $"/dev/pts/{number}";
        _slave = new FileStream(_name, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
    }

    public void Dispose()
    {
        _slave.Dispose();
        _master.Dispose();
    }

    private static int Descriptor(FileStream stream) => (int)stream.SafeFileHandle.DangerousGetHandle();

    private string Stty(params string[] arguments)
    {
        using Process stty = Process.Start(new ProcessStartInfo("stty", ["-F", _name, .. arguments]) { RedirectStandardOutput = true })!;
        string output = stty.StandardOutput.ReadToEnd();
        stty.WaitForExit();
        Assert.Equal(0, stty.ExitCode);
        return output;
    }

    [Fact]
    public void Raw_and_back_again()
    {
        string before = Stty("-g");
        using (Terminal? terminal = Terminal.TryOpenRaw(Descriptor(_slave)))
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
        Terminal terminal = Terminal.TryOpenRaw(Descriptor(_slave))!;
        terminal.Restore();
        terminal.Restore();
        terminal.Reapply();
        Assert.Equal(before, Stty("-g"));
    }

    [Fact]
    public void Its_size()
    {
        Stty("rows", "33", "cols", "111");
        Assert.Equal((33, 111), Terminal.Size(Descriptor(_slave)));
    }

    [Fact]
    public void A_file_is_no_terminal()
    {
        using FileStream file = File.OpenRead("/proc/self/maps");
        Assert.False(Terminal.IsTerminal(Descriptor(file)));
        Assert.Null(Terminal.TryOpenRaw(Descriptor(file)));
        Assert.Null(Terminal.Size(Descriptor(file)));
        Assert.True(Terminal.IsTerminal(Descriptor(_slave)));
    }

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int GetInt(int descriptor, nuint request, out int value);

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int SetInt(int descriptor, nuint request, in int value);
}
