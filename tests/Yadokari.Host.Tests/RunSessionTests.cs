using System.Text;
using Xunit;
using Yadokari.Boards.Pc;
using Yadokari.Core;
using Yadokari.Devices.Display;
using Yadokari.Devices.Serial;
using Yadokari.Host.Control;
using Yadokari.Machines;

namespace Yadokari.Host.Tests;

public sealed class RunSessionTests : IDisposable
{
    private readonly string _log = Path.GetTempFileName();

    private RunOptions Options => new() { Kernel = "k", Memory = 1 << 24, ConsoleTo = _log };

    public void Dispose() => File.Delete(_log);

    private int Run(MachineEnd end, int resets = 0) => RunSession.Run(Options, (console, _) => new ScriptedMachine(console, end, resets: resets));

    [Fact]
    public void Power_off_is_success() => Assert.Equal(0, Run(new MachineEnd(EndReason.PowerOff)));

    [Fact]
    public void A_reset_after_a_panic_ends() =>
        Assert.Equal(ExitCodes.GuestPanic, Run(new MachineEnd(EndReason.Reset) { Panic = "Kernel panic - not syncing: VFS" }));

    [Fact]
    public void A_panic_that_spins_ends() => Assert.Equal(ExitCodes.GuestPanic, Run(new MachineEnd(EndReason.Panic)));

    [Fact]
    public void A_triple_fault_ends() => Assert.Equal(ExitCodes.TripleFault, Run(new MachineEnd(EndReason.TripleFault)));

    // Of a thread of the monitor's, and of the machine itself: both are an orderly end.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_fault_of_its_own_ends_the_run(bool ofAThread)
    {
        IMonitor? monitor = null;
        var fault = new InvalidOperationException("a fault of the test's");
        int code = RunSession.Run(
            Options,
            (console, _) => new ScriptedMachine(console, new MachineEnd(EndReason.Stopped), () =>
            {
                if (!ofAThread)
                {
                    throw fault;
                }

                monitor!.Fail(fault);
            }),
            (console, given) =>
            {
                monitor = given;
                return console;
            });
        Assert.Equal(ExitCodes.Internal, code);
        Assert.Equal(7, monitor!.Type("0123456"u8)); // There is no machine any more.
    }

    [Fact]
    public void Those_who_listen_hear_what_happens()
    {
        RunEvents? events = null;
        List<RunEvent> heard = [];
        RunSession.Run(
            Options,
            (console, _) => new ScriptedMachine(console, new MachineEnd(EndReason.Panic), () => Hear(), resets: 1, afterReset: () => Hear()),
            (console, monitor) =>
            {
                events = monitor.Events;
                return console;
            });
        Hear();
        Assert.Equal(["started", "reset", "ended"], heard.Select(e => e.Event));
        Assert.Equal([null, null, ExitCodes.GuestPanic], heard.Select(e => e.ExitCode));

        void Hear()
        {
            using RunEvents.Listener listener = events!.Listen(); // Begins with the last.
            heard.Add(listener.Take(TimeSpan.Zero, out _)!);
        }
    }

    [Fact]
    public void The_console_file_holds_what_the_machine_said_and_no_more()
    {
        File.WriteAllText(_log, "what was there before");
        Run(new MachineEnd(EndReason.PowerOff), resets: 1);
        Assert.Equal("reset\r\nPowerOff\r\n", File.ReadAllText(_log));
    }

    [Fact]
    public void A_full_disk_ends_the_output_and_not_the_guest()
    {
        RunOptions options = Options with { ConsoleTo = "/dev/full", Trace = "/dev/full" };
        int code = RunSession.Run(options, (output, trace) =>
        {
            trace!.Write(new string('x', 1 << 20));
            return new ScriptedMachine(output, new MachineEnd(EndReason.PowerOff));
        });
        Assert.Equal(ExitCodes.Success, code);
    }

    [Fact]
    public void A_machine_that_can_not_be_built_leaves_the_console_file_alone()
    {
        File.WriteAllText(_log, "what was there before");
        Assert.Throws<UserErrorException>(() => RunSession.Run(Options, (_, _) => throw new UserErrorException("no")));
        Assert.Equal("what was there before", File.ReadAllText(_log));
    }

    // In whatever order several clients pause and resume the machine.
    [Fact]
    public void The_state_that_is_shown_is_the_machines()
    {
        IMonitor? monitor = null;
        ScriptedMachine? machine = null;
        void Toggle()
        {
            for (int round = 0; round < 300; round++)
            {
                Parallel.For(0, 6, i => monitor!.SetPaused(i % 2 == 0));
                Assert.Equal(machine!.IsPaused, monitor!.IsPaused);
            }
        }

        RunSession.Run(
            Options,
            (console, _) => machine = new ScriptedMachine(console, new MachineEnd(EndReason.PowerOff), Toggle),
            (console, named) =>
            {
                monitor = named;
                return console;
            });
        Assert.NotNull(monitor);
    }

    [Fact]
    public void Statistics_are_grouped()
    {
        var text = new StringWriter();
        StatisticsTable.Write(text, [("engine", "blocks", 1234567, ""), ("engine", "time", 0.25, "s"), ("com1", "writes", 3, "")], "\n");
        string[] lines = text.ToString().Split('\n');
        Assert.Equal(["engine", "com1"], lines.Where(l => l.Length > 0 && l[0] != ' '));
        Assert.EndsWith(" 1,234,567", lines[1]);
        Assert.EndsWith(" 0.250 s", lines[2]);
    }

    private sealed class ScriptedMachine(IConsole console, MachineEnd end, Action? during = null, int resets = 0, Action? afterReset = null) : IGuestMachine
    {
        public event Action? Restarted;

        public IEnumerable<(string Group, string Name, double Value, string Unit)> Statistics => [];

        public MachineEnd Run()
        {
            during?.Invoke();
            for (int i = 0; i < resets; i++)
            {
                console.Write("reset\r\n"u8);
                Restarted?.Invoke();
                afterReset?.Invoke();
            }

            console.Write(Encoding.ASCII.GetBytes($"{end.Reason}\r\n"));
            return end;
        }

        public void Stop()
        {
        }

        public bool IsPaused { get; private set; }

        public bool Pause()
        {
            IsPaused = true;
            Thread.Yield();
            return true;
        }

        public void Resume()
        {
            IsPaused = false;
            Thread.Yield();
        }

        public void PressPower()
        {
        }

        public void Resize(int rows, int columns)
        {
        }

        public TResult Use<T, TResult>(Func<T, TResult> call)
            where T : class => throw new NotSupportedException();

        public int Type(ReadOnlySpan<byte> keys) => keys.Length;

        public void Press(byte[] stroke)
        {
        }

        public bool Look(TextFrame frame) => false;

        public void Dispose()
        {
        }
    }
}
