using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Xunit;
using Yadokari.Boards.Specs;
using Yadokari.Host;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Tests;

/// <summary>The program on a terminal, which it gives back whatever ends it.</summary>
public sealed class TerminalProgramTests : IDisposable
{
    private const int Stop = 19;
    private const int Continue = 18;

    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    private readonly string _folder = Directory.CreateTempSubdirectory("yado-test-").FullName;
    private readonly PseudoTerminal _terminal = new();
    private readonly List<Process> _started = [];

    public void Dispose()
    {
        foreach (Process process in _started)
        {
            if (!process.HasExited)
            {
                process.Kill();
                process.WaitForExit();
            }

            process.Dispose();
        }

        _terminal.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(6)]
    [InlineData(10)]
    [InlineData(31)]
    [InlineData(64)]
    public void A_signal_ends_a_run_and_the_terminal_comes_back(int signal)
    {
        string before = _terminal.Stty("-g");
        Process run = StartRun();
        WaitUntilRaw(run);
        EndBy(run, signal);
        Assert.Equal(before, _terminal.Stty("-g"));
    }

    [Fact]
    public void Every_signal_that_ends_a_process_is_caught()
    {
        // But SIGILL, SIGTRAP, SIGBUS, SIGFPE and SIGSEGV, which tell of faults, SIGKILL, SIGPIPE, and 32 to 34 of the C library and the runtime.
        int[] ends = [.. Enumerable.Range(1, 64).Except([4, 5, 7, 8, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 28, 32, 33, 34])];
        Assert.Equal(ends, SignalGuard.Deadly);
        Process run = StartRun();
        WaitUntilRaw(run);
        string caught = File.ReadLines($"/proc/{run.Id}/status").Single(line => line.StartsWith("SigCgt:", StringComparison.Ordinal)).Split('\t')[1];
        ulong mask = ulong.Parse(caught, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        Assert.Equal([], ends.Where(s => (mask >> (s - 1) & 1) == 0));
        EndBy(run, 15);
    }

    [Fact]
    public void A_run_that_was_stopped_is_raw_again()
    {
        string before = _terminal.Stty("-g");
        Process run = StartRun();
        WaitUntilRaw(run);
        Kill(run, Stop);
        Assert.True(SpinWait.SpinUntil(() => File.ReadAllText($"/proc/{run.Id}/stat").Split(") ")[1][0] == 'T', s_patience));
        _terminal.Stty("sane"); // As a shell does.
        Kill(run, Continue);
        WaitUntilRaw(run);
        EndBy(run, 15);
        Assert.Equal(before, _terminal.Stty("-g"));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(10)]
    [InlineData(15)]
    public void A_signal_ends_a_console_and_the_terminal_comes_back(int signal)
    {
        // What yado takes for a machine that runs: its lock is taken, and somebody answers.
        string machine = Path.Combine(_folder, "data", "yadokari", "machines", "box");
        Directory.CreateDirectory(machine);
        var config = new MachineConfig { Created = DateTimeOffset.UnixEpoch, Directory = "/", Spec = new MachineSpec { Memory = 1 << 30 } };
        File.WriteAllText(Path.Combine(machine, "machine.json"), config.ToJson());
        using var taken = new FileStream(Path.Combine(machine, "lock"), FileMode.Create, FileAccess.ReadWrite, FileShare.None);
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(machine, "control")));
        listener.Listen();
        var clients = new List<Socket>();
        var monitor = new Thread(() =>
        {
            try
            {
                while (true)
                {
                    Socket client = listener.Accept();
                    clients.Add(client);
                    client.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: yadokari-console\r\n\r\n"u8);
                }
            }
            catch (SocketException)
            {
                // The test is over.
            }
        });
        monitor.Start();
        string before = _terminal.Stty("-g");
        Process console = Start("console", "box");
        WaitUntilRaw(console);
        EndBy(console, signal);
        Assert.Equal(before, _terminal.Stty("-g"));
        listener.Dispose();
        monitor.Join();
        clients.ForEach(c => c.Dispose());
    }

    private Process StartRun()
    {
        File.WriteAllBytes(Path.Combine(_folder, "kernel"), ProgramTests.WritingKernel());
        return Start("run", "--kernel", "kernel", "--memory", "16M");
    }

    // With the signals' usual actions: a SIGHUP that is ignored where the tests run, as under nohup, would stay so.
    private Process Start(params string[] arguments)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "yado");
        Process process = Process.Start(new ProcessStartInfo(
            "/bin/sh", ["-c", "exec env --default-signal \"$@\" <\"$0\" >/dev/null 2>&1", _terminal.Name, program, .. arguments])
        {
            WorkingDirectory = _folder,
            Environment = { ["XDG_CACHE_HOME"] = Path.Combine(_folder, "cache"), ["XDG_DATA_HOME"] = Path.Combine(_folder, "data") },
        })!;
        _started.Add(process);
        return process;
    }

    private void WaitUntilRaw(Process process) => Assert.True(
        SpinWait.SpinUntil(() => process.HasExited || _terminal.Stty("-a").Contains("-icanon", StringComparison.Ordinal), s_patience) && !process.HasExited);

    private static void EndBy(Process process, int signal)
    {
        Kill(process, signal);
        Assert.True(process.WaitForExit(s_patience));
        Assert.Equal(128 + signal, process.ExitCode);
    }

    private static void Kill(Process process, int signal)
    {
        using Process kill = Process.Start("/bin/sh", ["-c", $"kill -{signal} {process.Id}"]);
        kill.WaitForExit();
        Assert.Equal(0, kill.ExitCode);
    }
}
