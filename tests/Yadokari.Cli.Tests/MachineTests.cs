using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Xunit;
using Yadokari.Boards.Specs;
using Yadokari.Cli.Machines;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Tests;

/// <summary>Named machines as the program shows them; none of these boots one.</summary>
public sealed class MachineTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yado-test-").FullName;

    private string _path = Environment.GetEnvironmentVariable("PATH")!;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Machine(string name) => Path.Combine(_folder, "data", "yadokari", "machines", name);

    private void Make(string name)
    {
        Directory.CreateDirectory(Machine(name));
        var config = new MachineConfig { Recipe = "debian", Created = DateTimeOffset.UnixEpoch, Directory = "/", Spec = new MachineSpec { Cpus = 2, Memory = 1 << 30 }, DiskSize = 8L << 30 };
        File.WriteAllText(Path.Combine(Machine(name), "machine.json"), config.ToJson());
    }

    // As a monitor writes it.
    private static string RunJson(DateTimeOffset started, int sshPort, params string[] ports) => JsonSerializer.Serialize(
        new { process = Environment.ProcessId, started, sshPort, ports });

    private (int ExitCode, string Output, string Errors) Yado(params string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "yado"), arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = _folder,
            Environment = { ["PATH"] = _path, ["XDG_CACHE_HOME"] = Path.Combine(_folder, "cache"), ["XDG_DATA_HOME"] = Path.Combine(_folder, "data") },
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors.Result);
    }

    private void Refuses(string says, params string[] arguments)
    {
        (int code, string output, string errors) = Yado(arguments);
        Assert.Equal("", output);
        Assert.StartsWith("yado: ", errors);
        Assert.Contains(says, errors);
        Assert.Equal(1, errors.Count(c => c == '\n'));
        Assert.Equal(ExitCodes.BadInput, code);
    }

    [Fact]
    public void The_lock_tells_what_runs()
    {
        Make("alive");
        Make("dead");
        Directory.CreateDirectory(Machine("half-made"));

        // The dead one's monitor was killed: all that it wrote is there, with the number of a process that lives.
        string json = RunJson(DateTimeOffset.UtcNow.AddMinutes(-61), 2222, "127.0.0.1:8080:80");
        File.WriteAllText(Path.Combine(Machine("alive"), "run.json"), json);
        File.WriteAllText(Path.Combine(Machine("dead"), "run.json"), json);
        File.WriteAllText(Path.Combine(Machine("dead"), "lock"), "");
        using (new FileStream(Path.Combine(Machine("alive"), "lock"), FileMode.Create, FileAccess.ReadWrite, FileShare.None))
        {
            (int code, string output, string errors) = Yado("ls");
            Assert.Equal((0, ""), (code, errors));
            string[][] rows = [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split("  ", StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))];
            Assert.Equal(["NAME", "STATE", "RECIPE", "CPUS", "MEMORY", "DISK", "UPTIME", "PORTS"], rows[0]);
            Assert.Equal(["alive", "running", "debian", "2", "1G", "8G", "1h 1m", "127.0.0.1:8080:80"], rows[1]);
            Assert.Equal(["dead", "stopped", "debian", "2", "1G", "8G", "-", "-"], rows[2]);
            Assert.Equal(3, rows.Length);

            Assert.Equal("alive\ndead\n", Yado("ls", "-q").Output);
            using var list = JsonDocument.Parse(Yado("ls", "--json").Output);
            Assert.Equal(["running", "stopped"], list.RootElement.EnumerateArray().Select(m => m.GetProperty("state").GetString()));
            Assert.Equal(1L << 30, list.RootElement[0].GetProperty("memory").GetInt64());

            Refuses("runs", "rm", "alive");
            Refuses("runs already", "start", "alive");
            Refuses("runs already", "run", "--kernel", "k", "--name", "alive");
            Refuses("'yado start dead'", "run", "debian", "--name", "dead");
        }

        Refuses("does not run", "console", "dead");
        Refuses("does not run", "ssh", "dead", "--", "true");
        Refuses("does not run", "cp", "dead:/etc/hostname", ".");
        Assert.Equal((0, "dead\n", ""), Yado("stop", "dead"));
        Assert.Equal((0, "alive\n", ""), Yado("rm", "alive"));
        Assert.False(Directory.Exists(Machine("alive")));
    }

    [Fact]
    public void Monitors_that_hang_are_waited_for_at_the_same_time()
    {
        const int count = 5;
        const int timeout = 5; // Seconds that a monitor has to answer.
        List<IDisposable> monitors = [];
        try
        {
            for (int i = 0; i < count; i++)
            {
                Make($"box-{i}");
                monitors.Add(new FileStream(Path.Combine(Machine($"box-{i}"), "lock"), FileMode.Create, FileAccess.ReadWrite, FileShare.None));
                var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                monitors.Add(listener);
                listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(Machine($"box-{i}"), "control")));
                listener.Listen();
            }

            var time = Stopwatch.StartNew();
            using var list = JsonDocument.Parse(Yado("ls", "--json").Output);
            Assert.InRange(time.Elapsed.TotalSeconds, timeout - 1, 3 * timeout); // One after the other they take 25 seconds.
            Assert.Equal(Enumerable.Repeat("running", count), list.RootElement.EnumerateArray().Select(m => m.GetProperty("state").GetString()));

            time.Restart();
            Assert.Equal(count, Yado("ls", "-q").Output.Count(c => c == '\n'));
            Assert.InRange(time.Elapsed.TotalSeconds, 0, timeout - 1); // Names need no monitor.
        }
        finally
        {
            monitors.ForEach(m => m.Dispose());
        }
    }

    [Fact]
    public void Names_that_are_not_known()
    {
        Refuses("there is none yet", "stop", "box");
        Make("debian");
        Make("debian-2");
        Refuses("There is no machine debain: there is debian", "logs", "debain");
        Refuses("'yado ls' lists", "rm", "-f", "nonsense");
        Refuses("Box", "start", "Box");
        Refuses("../x", "rm", "../x");
        Refuses("no machine other", "rm", "debian", "other");
        Assert.True(Directory.Exists(Machine("debian"))); // Nothing was done to the first.
    }

    [Fact]
    public void A_log_is_shown_as_it_is()
    {
        Make("box");
        Assert.Equal((0, "", ""), Yado("logs", "box"));
        File.WriteAllText(Path.Combine(Machine("box"), "console.log"), "one\r\ntwo");
        Assert.Equal((0, "one\r\ntwo", ""), Yado("logs", "box"));
        Assert.Equal((0, "one\r\ntwo", ""), Yado("logs", "-f", "box"));
    }

    [Fact]
    public void A_damaged_machine_can_be_removed()
    {
        Make("box");
        File.WriteAllText(Path.Combine(Machine("box"), "machine.json"), "{\"extra\": 1}");
        Assert.Contains("damaged", Yado("ls").Output);
        Refuses("'yado rm box'", "start", "--attach", "box");
        Refuses("'yado rm box'", "start", "box");
        Assert.Equal(0, Yado("rm", "box").ExitCode);
        Assert.Empty(Yado("ls", "-q").Output);
    }

    [Fact]
    public void Bad_input_makes_no_machine()
    {
        string data = Path.Combine(_folder, "user-data");
        File.WriteAllText(data, "#cloud-config\nruncmd: [a\nb: c\n");
        Refuses("line ", "run", "debian", "--user-data", data);
        Refuses("missing", "run", "debian", "--user-data", "missing");
        Refuses("--user-data is for a system of a recipe", "run", "--user-data", data);
        Refuses("--disk-size is for a system of a recipe", "run", "--disk-size", "9G");
        Refuses("--disk-size 4G is less", "run", "debian", "--disk-size", "4G");
        Refuses("brings a kernel", "run", "debian", "--kernel", "k");
        Refuses("'debain'", "run", "debain");
        Refuses("--rm", "run", "--rm");
        Refuses("--console vga", "run", "debian", "-d", "--console", "vga");
        Refuses("Box", "run", "debian", "--name", "Box");
        Refuses("--time x", "stop", "--time", "x", "box");
        Refuses("missing", "run", "--kernel", "missing", "--name", "box");
        Refuses("missing", "run", "--kernel", "missing", "--detach");
        Refuses("missing", "run", "--kernel", "missing", "--rm", "-d");
        Assert.Empty(Yado("ls", "-q").Output);
        Assert.Equal([], Directory.Exists(Machine(".")) ? Directory.GetFileSystemEntries(Machine(".")) : []);
    }

    [Theory]
    [InlineData("box:/etc/x", "box", "/etc/x")]
    [InlineData("box:", "box", "")]
    [InlineData("/a:b", null, "/a:b")]
    [InlineData("./a:b", null, "./a:b")]
    [InlineData("file", null, "file")]
    public void Places_to_copy(string text, string? machine, string path) => Assert.Equal(new CopyCommand.Place(machine, path), CopyCommand.Place.Parse(text));

    [Fact]
    public void Nobody_but_ssh_looks_for_an_sshd_and_its_connection_is_shared()
    {
        // Twice too early, then there; what the command ends with is what yado ends with.
        string log = Path.Combine(_folder, "log");
        string tools = Directory.CreateDirectory(Path.Combine(_folder, "tools")).FullName;
        File.WriteAllText(Path.Combine(tools, "ssh"),
            $$"""
            #!/bin/sh
            echo "$*" >>{{log}}
            case "$*" in
            "-O check"*) exit 0 ;;
            "-M -N -f"*)
                [ $(grep -c -e '^-M' {{log}}) -gt 2 ] || { echo 'kex_exchange_identification: Connection closed by remote host' >&2; exit 255; }
                : >"$(echo "$*" | sed 's/.*ControlPath="//; s/".*//')"
                sleep 1000 &
                echo $! >{{log}}.sleep ;;
            *) exit 7 ;;
            esac
            """);
        File.SetUnixFileMode(Path.Combine(tools, "ssh"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        _path = $"{tools}:{_path}";
        using var sshd = new TcpListener(IPAddress.Loopback, 0);
        sshd.Start();
        Make("alive");
        File.WriteAllText(Path.Combine(Machine("alive"), "run.json"), RunJson(DateTimeOffset.UtcNow, ((IPEndPoint)sshd.LocalEndpoint).Port));
        using var running = new FileStream(Path.Combine(Machine("alive"), "lock"), FileMode.Create, FileAccess.ReadWrite, FileShare.None);

        Assert.Equal((7, "", ""), Yado("ssh", "alive", "--", "true"));
        Assert.Equal((7, "", ""), Yado("ssh", "alive", "--", "true"));
        Process.GetProcessById(int.Parse(File.ReadAllText(log + ".sleep"), CultureInfo.InvariantCulture)).Kill();
        string[] asked = File.ReadAllLines(log);
        Assert.Equal(["-M", "-M", "-M", "-p", "-O", "-p"], asked.Select(a => a.Split(' ')[0]));
        Assert.All(asked, a => Assert.Contains($"ControlPath=\"{Machine("alive")}/ssh-", a));
        Assert.EndsWith("debian@127.0.0.1 true", asked[^1]);
        Assert.False(sshd.Pending());
    }

    [Fact]
    public void What_ssh_has_against_a_machine_ssh_says_once()
    {
        string tools = Directory.CreateDirectory(Path.Combine(_folder, "tools")).FullName;
        File.WriteAllText(Path.Combine(tools, "ssh"), "#!/bin/sh\necho 'debian@127.0.0.1: Permission denied (publickey).' >&2\nexit 255\n");
        File.SetUnixFileMode(Path.Combine(tools, "ssh"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        _path = $"{tools}:{_path}";
        Make("alive");
        File.WriteAllText(Path.Combine(Machine("alive"), "run.json"), RunJson(DateTimeOffset.UtcNow, 2222));
        using var running = new FileStream(Path.Combine(Machine("alive"), "lock"), FileMode.Create, FileAccess.ReadWrite, FileShare.None);
        Assert.Equal((255, "", "debian@127.0.0.1: Permission denied (publickey).\n"), Yado("ssh", "alive", "--", "true"));
    }
}
