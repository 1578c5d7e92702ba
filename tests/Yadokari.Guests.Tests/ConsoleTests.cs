using System.Net.Sockets;
using System.Text;

namespace Yadokari.Guests.Tests;

/// <summary>The default guest on each kind of console, and with a port that a program of the host's talks with.</summary>
public sealed class ConsoleTests
{
    [Theory]
    [InlineData("stdio", "ttyS0")]
    [InlineData("virtio", "hvc0")]
    public void Control_C_ends_a_program_of_the_default_guest(string console, string name)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        using var vm = Guest.Start("--console", console);
        vm.Console.WaitFor("# ");
        vm.Console.Send("echo on $(cat /sys/class/tty/console/active)");
        vm.Console.WaitFor("on " + name);
        for (var i = 1; i <= 2; i++)
        {
            // The program says itself that it runs: before, its shell would be what is interrupted.
            vm.Console.Send($"sh -c 'echo $((6 * {i + 6})) seconds; exec sleep 1000'");
            vm.Console.WaitFor($"{6 * (i + 6)} seconds");
            vm.Console.Type("\u0003");
            vm.Console.Send("echo status $?");
            vm.Console.WaitFor("status 130");
        }

        // A shell that ends is followed by one of which the same is true.
        vm.Console.Send("exec true");
        vm.Console.WaitFor("Enter 'help'");
        vm.Console.WaitFor("# ");
        vm.Console.Send("sh -c 'echo $((6 * 9)) more; exec sleep 1000'");
        vm.Console.WaitFor("54 more");
        vm.Console.Type("\u0003");
        vm.Console.Send("echo again $?");
        vm.Console.WaitFor("again 130");
        Assert.DoesNotContain("job control", vm.Console.Text, StringComparison.Ordinal);
        vm.Console.Send("poweroff");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void A_guest_on_a_virtio_console_talks_through_a_port(int cpus)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var path = Path.Combine(Path.GetTempPath(), $"yadokari-{Guid.NewGuid():n}");
        using var vm = Guest.Start("--console", "virtio", "--port", "org.example.agent=" + path, "--cpus", $"{cpus}");
        vm.Console.WaitFor("# ");
        vm.Console.Send("echo on $(cat /sys/class/tty/console/active)");
        vm.Console.WaitFor("on hvc0");
        vm.Console.Send("for p in /sys/class/virtio-ports/*; do [ \"$(cat $p/name)\" = org.example.agent ] && port=/dev/${p##*/}; done; echo port $port.");
        vm.Console.WaitFor("port /dev/vport");

        // Said before the guest opens it: it waits. And 300,000 bytes back, as a sum that both sides make.
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        socket.Send("a question\n"u8);
        vm.Console.Send("exec 3<>$port; read -r line <&3; echo \"heard: $line\"; yes 0123456789 | head -c 300000 >&3; echo sent");
        vm.Console.WaitFor("heard: a question");
        var back = new StringBuilder();
        var piece = new byte[65536];
        while (back.Length < 300_000)
            back.Append(Encoding.ASCII.GetString(piece, 0, socket.Receive(piece)));
        Assert.Equal(string.Concat(Enumerable.Repeat("0123456789\n", 27273))[..300_000], back.ToString());
        vm.Console.WaitFor("sent");

        // The console itself under load: nothing is lost or out of order.
        vm.Console.Send("seq 1 20000 | md5sum; seq 1 20000; echo end_of_it");
        vm.Console.WaitFor("\n20000");
        vm.Console.WaitFor("end_of_it");
        Assert.Contains(string.Join('\n', Enumerable.Range(1, 20000)), vm.Console.Text, StringComparison.Ordinal);
        vm.Console.Send("poweroff");
        Assert.Equal(0, vm.Console.WaitForEnd());
        Assert.False(File.Exists(path));
    }
}
