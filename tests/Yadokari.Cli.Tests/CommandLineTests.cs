using System.CommandLine;
using System.Net;
using Xunit;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Disks;
using Yadokari.Host;
using Yadokari.Host.Tests;
using Yadokari.Machines;
using Yadokari.Networks;

namespace Yadokari.Cli.Tests;

public sealed class CommandLineTests
{
    private static RunOptions Read(params string[] arguments)
    {
        ParseResult result = RunCommand.Create().Parse(arguments);
        Assert.Empty(result.Errors);
        return RunCommand.Read(result);
    }

    [Fact]
    public void Nothing_given_means_the_default_guest_with_defaults()
    {
        var expected = new RunOptions { Devices = [new NetworkSpec()] };
        Check(expected, Read());
        Assert.True(Read().IsDefaultGuest);
        Assert.False(Read("--initrd", "i").IsDefaultGuest);
    }

    [Fact]
    public void Every_option_arrives()
    {
        RunOptions options = Read(
            "--kernel", "k", "--initrd", "i", "--append", "quiet  x=\"a b\"", "--memory", "1G", "--cpus", "1", "--engine", "translate",
            "--console", "log", "--stats", "--trace", "t", "--gdb", "1234", "--device", "debug-exit,port=0x501", "--device", "debug-console", "--device", "test-irq", "--device", "test-memory", "--module", "m1 a b", "--module", "m2");
        var expected = new RunOptions
        {
            Kernel = "k",
            Initrd = "i",
            Append = "quiet  x=\"a b\"",
            Memory = 1UL << 30,
            ConsoleTo = "log",
            Stats = true,
            Trace = "t",
            GdbPort = 1234,
            Devices =
            [
                new NetworkSpec(),
                new TestDeviceSpec(TestDevice.DebugExit, 0x501),
                new TestDeviceSpec(TestDevice.DebugConsole),
                new TestDeviceSpec(TestDevice.TestIrq),
                new TestDeviceSpec(TestDevice.TestMemory),
            ],
            Modules = ["m1 a b", "m2"],
        };
        Check(expected, options);
    }

    [Fact]
    public void Firmware_starts_a_kernel()
    {
        RunOptions options = Read("--firmware", "f", "--kernel", "k", "--initrd", "i", "--append", "quiet", "--cdrom", "c");
        Assert.Equal(("f", "k", "i", "quiet"), (options.Firmware, options.Kernel, options.Initrd, options.Append));
        Assert.Equal([new NetworkSpec(), new CdromSpec("c")], Shown(options));
    }

    [Fact]
    public void Options_of_firmware_arrive()
    {
        RunOptions options = Read("--firmware", "f", "--disk", "d1", "--disk", "path=d2,ro", "--disk", "d3,bus=ide", "--disk", "d4,packed", "--disk", "d5,snapshot,format=qcow2", "--cdrom", "c", "--floppy", "p,ro", "--cpus", "32");
        var expected = new RunOptions
        {
            Firmware = "f",
            Cpus = 32,
            Devices = [new DiskSpec("d1"), new DiskSpec("d2", ReadOnly: true), new DiskSpec("d3", Bus: DiskBus.Ide), new DiskSpec("d4", Packed: true), new DiskSpec("d5", Format: DiskFormat.Qcow2, Snapshot: true), new NetworkSpec(), new CdromSpec("c"), new FloppySpec("p", ReadOnly: true)],
        };
        Check(expected, options);
    }

    [Theory]
    [InlineData("--firmware", "f", "--initrd", "i")]
    [InlineData("--firmware", "f", "--append", "quiet")]
    [InlineData("--kernel", "k", "--cdrom", "d")]
    [InlineData("--floppy", "")]
    [InlineData("--floppy", "p,ro,snapshot")]
    [InlineData("--floppy", "p,format=qcow2")]
    [InlineData("--net", "")]
    [InlineData("--net", "bridge")]
    [InlineData("--net", "user,fast")]
    [InlineData("--net", "user,mac=1:2")]
    [InlineData("--net", "user,mac=01:02:03:04:05:06")]
    [InlineData("--net", "tap=t,host-loopback")]
    [InlineData("--net", "tap=t", "--publish", "1:2")]
    [InlineData("--net", "none", "--publish", "1:2")]
    [InlineData("--publish", "80")]
    [InlineData("--publish", "80:99999")]
    [InlineData("--firmware", "f", "--disk", "d,rw")]
    [InlineData("--firmware", "f", "--disk", "d,bus=scsi")]
    [InlineData("--firmware", "f", "--disk", "")]
    [InlineData("--vsock", "")]
    [InlineData("--vsock", ",cid=3")]
    [InlineData("--vsock", "path,cid=2")]
    [InlineData("--vsock", "path,cid=4294967295")]
    [InlineData("--vsock", "path,cid=x")]
    [InlineData("--share", "")]
    [InlineData("--share", "folder")]
    [InlineData("--share", "folder:")]
    [InlineData("--share", ":/place")]
    [InlineData("--share", "folder:place")]
    [InlineData("--share", "folder:/a place")]
    [InlineData("--share", "folder:/place,rw")]
    [InlineData("--disk", "d,ro,snapshot")]
    [InlineData("--disk", "d,format=vmdk")]
    public void Options_that_do_not_go_together(params string[] arguments)
    {
        ParseResult result = RunCommand.Create().Parse(arguments);
        Sentence.Check(Assert.ThrowsAny<UserErrorException>(() => RunCommand.Read(result)).Message);
    }

    [Theory]
    [InlineData("folder:/place", "folder", "/place", false)]
    [InlineData("/a:b,c:/d/e,ro", "/a:b,c", "/d/e", true)]
    public void Shares(string text, string folder, string place, bool readOnly) =>
        Assert.Equal([new ShareSpec(folder, place, readOnly)], Read("--share", text).Devices.OfType<ShareSpec>());

    [Theory]
    [InlineData("path", "path", 3)]
    [InlineData("a,b,cid=77", "a,b", 77)]
    public void Vsock(string text, string path, uint cid) => Assert.Equal(new VsockSpec(path, cid), Read("--vsock", text).Devices.OfType<VsockSpec>().Single());

    [Fact]
    public void A_virtio_console_is_on_the_terminal()
    {
        RunOptions options = Read("--console", "virtio", "--port", "agent=/run/a=b");
        Assert.Equal(("stdio", true), (options.Console, options.HasVirtioConsole));
        Assert.Equal([new PortSpec("agent", "/run/a=b")], options.Devices.OfType<PortSpec>());
        foreach (string text in (string[])["", "agent", "=x", "agent="])
        {
            Assert.ThrowsAny<UserErrorException>(() => Read("--port", text));
        }
    }

    [Fact]
    public void Networks_arrive()
    {
        Assert.Empty(Read("--net", "none").Devices);
        var network = (NetworkSpec)Read("--net", "passt,host-loopback,packed,mac=52:54:00:12:34:56", "--publish", "2222:22", "--publish", "0.0.0.0:53:53/udp").Devices.Single();
        Assert.Equal((NetworkKind.Passt, true, true, "525400123456"), (network.Network, network.HostLoopback, network.Packed, network.Mac!.ToString()));
        Assert.Equal([new PortForward(IPAddress.Loopback, 2222, 22), new PortForward(IPAddress.Any, 53, 53, IsUdp: true)], network.Forwards);
        Assert.Equal([(NetworkKind.Tap, "tap0", 0), (NetworkKind.User, "", 1)],
            Read("--net", "tap=tap0", "--net", "user", "--publish", "80:80").Devices.Cast<NetworkSpec>().Select(n => (n.Network, n.Tap, n.Forwards.Count)));
        Assert.ThrowsAny<UserErrorException>(() => Read("--net", "none", "--net", "user"));
    }

    private static DeviceSpec[] Shown(RunOptions options) => [.. options.Devices.Select(d => d is NetworkSpec network ? network with { Forwards = [] } : d)];

    // Lists count by what is in them.
    private static void Check(RunOptions expected, RunOptions actual)
    {
        Assert.Equal(expected.Modules, actual.Modules);
        Assert.Equal(expected.Devices.Count, actual.Devices.Count);
        for (int i = 0; i < expected.Devices.Count; i++)
        {
            if (expected.Devices[i] is NetworkSpec network)
            {
                Assert.Equal(network.Forwards, Assert.IsType<NetworkSpec>(actual.Devices[i]).Forwards);
                Assert.Equal(network, (NetworkSpec)actual.Devices[i] with { Forwards = network.Forwards });
            }
            else
            {
                Assert.Equal(expected.Devices[i], actual.Devices[i]);
            }
        }

        Assert.Equal(expected, actual with { Devices = expected.Devices, Modules = expected.Modules });
    }

    [Theory]
    [InlineData("--device", "sound")]
    [InlineData("--device", "test-memory,port=1")]
    [InlineData("--device", "debug-exit,port=70000")]
    [InlineData("--device", "debug-exit,irq=5")]
    [InlineData("--cpus", "0")]
    [InlineData("--cpus", "-1")]
    [InlineData("--cpus", "many")]
    [InlineData("--cpus", "")]
    [InlineData("--memory", "")]
    [InlineData("--memory", "12Q")]
    [InlineData("--memory", "1.5G")]
    [InlineData("--memory", "512")]
    [InlineData("--memory", "3M")]
    [InlineData("--memory", "16385K")]
    [InlineData("--memory", "18446744073709551615T")]
    [InlineData("--direct", "sometimes")]
    [InlineData("--engine", " ")]
    [InlineData("--kernel", "")]
    [InlineData("--firmware", "")]
    [InlineData("--cdrom", "")]
    [InlineData("--module", "")]
    [InlineData("--module", " x")]
    [InlineData("--module", "\"x")]
    [InlineData("--module", "\"x\"y")]
    [InlineData("--initrd", "")]
    [InlineData("--cpus", "33")]
    [InlineData("--log-level", "")]
    [InlineData("--log-level", "loud")]
    [InlineData("--gdb", "0")]
    [InlineData("--gdb", "65536")]
    [InlineData("--gdb", "tcp")]
    [InlineData("--engine", "qemu")]
    [InlineData("--append", "a\nb")]
    public void Values_that_can_not_be(string option, string value)
    {
        ParseResult result = RunCommand.Create().Parse([option, value]);
        Sentence.Check(Assert.ThrowsAny<UserErrorException>(() => RunCommand.Read(result)).Message);
    }

    [Fact]
    public void Exit_codes_of_guests_differ_from_those_of_errors()
    {
        int[] codes = [ExitCodes.Success, ExitCodes.Internal, ExitCodes.BadInput, ExitCodes.GuestPanic, ExitCodes.TripleFault, ExitCodes.EndedByUser];
        Assert.Equal(codes.Length, codes.Distinct().Count());
    }
}
