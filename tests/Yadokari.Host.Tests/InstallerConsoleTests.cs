using System.Text;
using Xunit;
using Yadokari.Host.Recipes;

namespace Yadokari.Host.Tests;

/// <summary>What the machine that installs a system says of its progress.</summary>
public sealed class InstallerConsoleTests
{
    [Fact]
    public void The_installer_says_which_package_it_is_at()
    {
        var progress = new Recorder();
        var console = new InstallerConsole(progress, essential: 2, others: 4);
        Say("yadokari: base\r\n");
        Say("processing: install: libc6\r\nstatus: libc6: half-installed\r\nprocessing: configure: libc6\r\nprocessing: install: dpkg\r\nprocessing: configure: dpkg\r\n");
        Say("yadokari: unpacking\nprocessing: install: udev\n");
        Say("yadokari: configuring\nprocessing: configure: udev\nprocessing: trigproc: initramfs-tools\n");
        Assert.False(console.IsDone);
        Say("yadokari: finishing\nyadokari: done\n");
        Assert.True(console.IsDone);
        Assert.Null(console.Failure);
        Assert.Equal(
            [
                "installing the base system", "libc6", "25", "libc6", "50", "dpkg", "75", "dpkg", "100", "unpacking packages", "udev", "25",
                "configuring packages", "udev", "25", "initramfs-tools (triggers)", "25", "finishing the image", "done",
            ],
            progress.Said);

        void Say(string text) => console.Write(Encoding.UTF8.GetBytes(text));
    }

    [Fact]
    public void What_an_installer_says_has_no_control_characters_and_an_end()
    {
        var progress = new Recorder();
        var console = new InstallerConsole(progress, 1, 1);
        console.Write("processing: install: \e[2J\u009Bx\n"u8);
        console.Write(Encoding.UTF8.GetBytes($"yadokari: failed: \a{new string('x', 1 << 20)}\n"));
        Assert.Equal("[2Jx", progress.Said[0]);
        Assert.InRange(console.Failure!.Length, 100, 1000);
        Assert.StartsWith("xxx", console.Failure);
    }

    private sealed class Recorder : IProgressReport
    {
        public List<string> Said { get; } = [];

        public void Step(string what) => Said.Add(what);

        public void Fraction(double done) => Said.Add($"{done * 100:F0}");

        public void Detail(string what) => Said.Add(what);
    }
}
