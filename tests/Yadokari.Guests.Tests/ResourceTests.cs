using System.Text.RegularExpressions;

namespace Yadokari.Guests.Tests;

/// <summary>All that a machine uses of the host's by name it has opened before the guest runs: nothing is left to do that a jail would forbid.</summary>
public sealed partial class ResourceTests
{
    // The runtime's own: its code, and what it asks of the kernel about processors, memory, threads and terminals.
    [GeneratedRegex(@"^(/proc/(self|sys|meminfo|stat|mounts|\d+)\b|/sys/(devices/system/cpu|fs/cgroup)\b|/dev/u?random$|/etc/(localtime|ld\.so\.cache)$|.*\.(dll|so(\.\d+)*)$|/usr/share/terminfo/|/lib/terminfo/|/etc/terminfo/)")]
    private static partial Regex Runtimes();

    // A path from the current folder or the root; those below a descriptor are a shared folder's.
    [GeneratedRegex("""\b(?:open\(|openat2?\(AT_FDCWD, |openat2?\(\d+, (?="/)|creat\(|execve\(|(?:bind|connect)\(\d+, \{sa_family=AF_UNIX, sun_path=)"([^"]*)""")]
    private static partial Regex Named();

    [Fact]
    public void Nothing_is_opened_by_name_once_the_guest_runs()
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var strace = Guest.HostProgram("strace");
        var folder = Directory.CreateTempSubdirectory("yado-resources-").FullName;
        try
        {
            var (disk, trace, agent) = (Path.Combine(folder, "disk"), Path.Combine(folder, "trace"), Path.Combine(folder, "agent"));
            File.WriteAllBytes(disk, new byte[1 << 20]);
            var shared = Directory.CreateDirectory(Path.Combine(folder, "shared")).FullName;
            File.WriteAllText(Path.Combine(shared, "file"), "from the host");

            // Programs that run directly are processes that the monitor traces, which can't be traced twice.
            using var vm = Guest.Under(
                [strace, "-f", "-qq", "--seccomp-bpf", "-e", "trace=open,openat,openat2,creat,bind,connect,execve", "-s", "4096", "-o", trace],
                "--direct", "off", "--disk", disk + ",format=raw,snapshot",
                "--share", shared + ":/shared", "--vsock", Path.Combine(folder, "vsock"), "--port", "agent=" + agent);
            for (var boot = 0; boot < 2; boot++)
            {
                vm.Console.WaitFor("# ");
                vm.Console.Send("dd if=/dev/vda of=/dev/null bs=64k; dd if=/dev/zero of=/dev/vda bs=64k count=4 conv=fsync; echo disk $((6 * 7))");
                vm.Console.WaitFor("disk 42");
                vm.Console.Send("cat /shared/file; echo share $((6 * 7))");
                vm.Console.WaitFor("share 42");
                vm.Console.WaitFor("# ");
                vm.Console.Send(boot == 0 ? "reboot -f" : "poweroff -f");
            }

            Assert.Equal(0, vm.Console.WaitForEnd());
            Assert.Contains("from the host", vm.Console.Text);
            string[] names = [.. File.ReadLines(trace).Select(static line => Named().Match(line)).Where(static match => match.Success).Select(static match => match.Groups[1].Value)];
            var made = Array.IndexOf(names, agent); // Ports come last.
            Assert.True(made > 0, string.Join('\n', names.TakeLast(50)));
            Assert.Equal([], names[(made + 1)..].Where(static name => !Runtimes().IsMatch(name)));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
