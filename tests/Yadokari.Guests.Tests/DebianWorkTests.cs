using System.Diagnostics;

namespace Yadokari.Guests.Tests;

/// <summary>Work that checks itself, in a stock Debian on four processors: compilers, stress, disk, network, memory that comes and goes, and a monitor that is killed.</summary>
public sealed class DebianWorkTests : IDisposable
{
    private const string Tools = "fio stress-ng gcc make libc6-dev iperf3";

    private readonly NamedMachines _machines = new();
    private bool _done;

    public void Dispose() => _machines.Dispose();

    [Fact]
    public async Task Four_processors_work_and_nothing_is_lost()
    {
        Guest.HostProgram("ssh");
        var disk = Path.Combine(_machines.Folder, "data.qcow2");
        var folder = Directory.CreateDirectory(Path.Combine(_machines.Folder, "shared")).FullName;
        Assert.Equal(0, _machines.Yado("disk", "create", disk, "2G", "--format", "qcow2").Code);
        _machines.Run("run", "debian", "--name", "work", "--detach", "--cpus", "4", "--memory", "1G", "--disk", disk, "--net", "user,host-loopback", "--share", folder + ":/shared");
        Ssh("cloud-init status --wait >/dev/null; sudo mkdir /shared; sudo mount -t virtiofs /shared /shared");
        Ssh($"(sudo apt-get -qq update && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {Tools}) >/tmp/apt.log 2>&1 || (tail -3 /tmp/apt.log; false)");

        // Sums that stress-ng checks.
        Ssh("stress-ng --verify --timeout 20s --cpu 4 --matrix 2 --vm 2 --vm-bytes 48M --fork 2 --switch 2 --futex 2 --mmap 1 --mmap-bytes 16M 2>&1 | tail -3; exit ${PIPESTATUS[0]}");

        // A parallel build, of a program whose answer is known.
        const int sources = 48;
        File.WriteAllText(Path.Combine(folder, "Makefile"), $"main: $(patsubst %,%.o,$(shell seq 0 {sources - 1})) main.o\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O2 -c -o $@ $<\n");
        for (var i = 0; i < sources; i++)
            File.WriteAllText(Path.Combine(folder, $"{i}.c"), $"#include <stdio.h>\nunsigned f{i}(unsigned n) {{ unsigned s = {i}; for (unsigned j = 0; j < n; j++) s = s * 31 + (j ^ {i}); return s; }}\n");
        var calls = string.Concat(Enumerable.Range(0, sources).Select(static i => $"unsigned f{i}(unsigned); "));
        var sums = string.Join(" ^ ", Enumerable.Range(0, sources).Select(static i => $"f{i}(1000)"));
        File.WriteAllText(Path.Combine(folder, "main.c"), $"#include <stdio.h>\n{calls}\nint main(void) {{ printf(\"%u\\n\", {sums}); }}\n");
        Assert.Equal($"{Enumerable.Range(0, sources).Aggregate(0u, static (sum, i) => sum ^ Value((uint)i))}\n", Ssh("cp -r /shared /tmp/build && cd /tmp/build && make -s -j4 && ./main | sudo tee /shared/answer"));
        Assert.Equal(_machines.Run("ssh", "work", "--", "cat /shared/answer").Output, File.ReadAllText(Path.Combine(folder, "answer")));

        // A disk that is written at random by two, and read again; the machine is paused now and then.
        var paused = Task.Run(PauseNowAndThen, TestContext.Current.CancellationToken);
        try
        {
            Ssh("sudo fio --name=verify --filename=/dev/vdc --rw=randwrite --bsrange=4k-64k --size=128M --verify=crc32c --verify_fatal=1 --iodepth=16 --ioengine=libaio --direct=1 --numjobs=2 --offset_increment=256M --group_reporting >/tmp/fio.log 2>&1 || (tail -5 /tmp/fio.log; false)");
        }
        finally
        {
            Volatile.Write(ref _done, true);
        }

        Assert.InRange(await paused, 1, 1000);

        // Memory is given up, and comes back.
        Assert.Equal("work has 600M of 1G\n", _machines.Run("balloon", "work", "600M").Output);
        var little = int.Parse(Ssh("free -m | awk '/Mem:/ { print $2 - $3 }'"), System.Globalization.CultureInfo.InvariantCulture);
        Assert.Equal("work has 1G of 1G\n", _machines.Run("balloon", "work", "1G").Output);
        var much = int.Parse(Ssh("free -m | awk '/Mem:/ { print $2 - $3 }'"), System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(much - little, 300, 500);

        if (File.Exists("/usr/bin/iperf3"))
            CompareStreams();
        else
            TestContext.Current.TestOutputHelper?.WriteLine("iperf3 is not installed on the host: streams were not compared.");

        // The monitor is killed while fio writes and flushes; the image stays whole, and the machine starts again.
        var random = new Random(Environment.TickCount);
        var check = Guest.HostProgram("qemu-img");
        for (var round = 0; round < 3; round++)
        {
            Ssh("sudo sh -c 'nohup fio --name=kill --filename=/dev/vdc --rw=randwrite --bs=8k --size=1G --fdatasync=4 --iodepth=8 --ioengine=libaio --direct=1 --time_based --runtime=600 >/dev/null 2>&1 </dev/null &'");
            Thread.Sleep(500 + random.Next(3000)); // At some moment of the work, each time another.
            _machines.KillMonitor();
            using (var image = Process.Start(new ProcessStartInfo(check, ["check", disk]) { RedirectStandardOutput = true })!)
            {
                var said = image.StandardOutput.ReadToEnd();
                image.WaitForExit();
                Assert.True(image.ExitCode is 0 or 3, said); // 3: clusters that nobody uses, which cost room alone.
            }

            Assert.Equal((0, "work\n"), _machines.Run("start", "work"));
        }

        Assert.Equal("running\n", Ssh("systemctl is-system-running --wait"));
        Assert.Equal((0, "work\n"), _machines.Run("stop", "work", "--time", "600"));

        static uint Value(uint i)
        {
            var s = i;
            for (var j = 0u; j < 1000; j++)
                s = unchecked((s * 31) + (j ^ i));
            return s;
        }
    }

    private int PauseNowAndThen()
    {
        var pauses = 0;
        while (!Volatile.Read(ref _done))
        {
            _machines.Run("pause", "work");
            Thread.Sleep(500); // For so long it has to stand.
            _machines.Run("resume", "work");
            pauses++;
            Thread.Sleep(700); // For so long it may work.
        }

        return pauses;
    }

    // Both ways, by the program that people measure networks with; it compares what was sent with what came.
    private void CompareStreams()
    {
        foreach (var way in (string[])["", "-R", "-u -b 20M", "-P 4"])
        {
            var port = HostPort.Free();
            using var server = Process.Start(new ProcessStartInfo("/usr/bin/iperf3", ["-s", "-1", "-p", $"{port}", "--forceflush"]) { RedirectStandardOutput = true })!;
            while (server.StandardOutput.ReadLine() is { } line && !line.Contains("Server listening", StringComparison.Ordinal))
            {
            }

            var rest = server.StandardOutput.ReadToEndAsync();
            Assert.Contains("iperf Done.", Ssh($"iperf3 -c 10.0.2.2 -p {port} -t 2 {way}"), StringComparison.Ordinal);
            if (!server.WaitForExit(60_000))
                server.Kill();
            Assert.True(rest.Wait(60_000, TestContext.Current.CancellationToken));
        }
    }

    private string Ssh(string command) => _machines.Run("ssh", "work", "--", command).Output;
}
