using System.Diagnostics;
using System.Runtime.InteropServices;
using Xunit;

namespace Yadokari.Cli.Tests;

/// <summary>A terminal without a device (pty(7)).</summary>
internal sealed partial class PseudoTerminal : IDisposable
{
    private readonly FileStream _master;
    private readonly FileStream _slave;

    public PseudoTerminal()
    {
        _master = new FileStream("/dev/ptmx", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        int unlocked = 0;
        Assert.Equal(0, SetInt(DescriptorOf(_master), 0x40045431, in unlocked)); // TIOCSPTLCK
        Assert.Equal(0, GetInt(DescriptorOf(_master), 0x80045430, out int number)); // TIOCGPTN
        Name = $"/dev/pts/{number}";
        _slave = new FileStream(Name, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
    }

    /// <summary>What programs open.</summary>
    public string Name { get; }

    /// <summary>The same, open here.</summary>
    public int Descriptor => DescriptorOf(_slave);

    /// <summary>What stty(1) says, or does.</summary>
    public string Stty(params string[] arguments)
    {
        using Process stty = Process.Start(new ProcessStartInfo("stty", ["-F", Name, .. arguments]) { RedirectStandardOutput = true })!;
        string output = stty.StandardOutput.ReadToEnd();
        stty.WaitForExit();
        Assert.Equal(0, stty.ExitCode);
        return output;
    }

    public void Dispose()
    {
        _slave.Dispose();
        _master.Dispose();
    }

    /// <summary>A stream's.</summary>
    public static int DescriptorOf(FileStream stream) => (int)stream.SafeFileHandle.DangerousGetHandle();

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int GetInt(int descriptor, nuint request, out int value);

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int SetInt(int descriptor, nuint request, in int value);
}
