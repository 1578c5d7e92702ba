using System.Net.Sockets;
using System.Text;
using Xunit;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;

namespace Yadokari.Host.Tests;

/// <summary>What users are told of a machine's monitor, whatever that does.</summary>
public sealed class MachineControlTests : IDisposable
{
    private readonly string _data = Directory.CreateTempSubdirectory("yado-test-").FullName;
    private readonly MachineFolder _machine;
    private readonly MachineControl _control;

    public MachineControlTests()
    {
        _machine = new MachineFolder(Path.Combine(_data, "box"));
        _control = new MachineControl(_machine);
    }

    public void Dispose() => Directory.Delete(_data, recursive: true);

    [Fact]
    public void Monitor_is_asked_by_http()
    {
        using FileStream running = _machine.TryLock()!;
        var monitor = new ScriptedMonitor();
        using var server = ControlServer.Open(_machine.Control);
        server.Begin(monitor, ScriptedMonitor.Description);
        Assert.Equal((1UL << 28, 1UL << 29, 1UL << 29), _control.Balloon());
        Assert.Equal((1UL << 28, 1UL << 29, 1UL << 29), _control.Balloon(1 << 26));
        _control.ResizeConsole(24, 80);
        _control.Pause();
        Assert.True(_control.IsPaused());
        _control.Resume();
        Assert.False(_control.IsPaused());
        server.Show("login: "u8);
        (Socket console, byte[] first) = _control.OpenConsole();
        using (console)
        {
            console.Send("root"u8);
            var seen = new StringBuilder(Encoding.ASCII.GetString(first));
            byte[] piece = new byte[64];
            while (seen.Length < "login: ".Length)
            {
                seen.Append(Encoding.ASCII.GetString(piece, 0, console.Receive(piece)));
            }

            Assert.Equal("login: ", seen.ToString());
            Assert.True(SpinWait.SpinUntil(() => monitor.Typed == "root", 5000));
        }

        Assert.Equal([$"balloon {1 << 26}", "size 24 80", "pause", "resume"], monitor.Done);
        Assert.Equal(
            "The balloon's target 1 is not valid: give bytes as a multiple of 4096 from 16777216 to 536870912.", Assert.Throws<UserErrorException>(() => _control.Balloon(1)).Message);
    }

    [Fact]
    public void Machine_that_does_not_run_is_told_from_one_that_has_ended_meanwhile()
    {
        Assert.Equal("The machine box does not run: 'yado start box' starts it.", Assert.Throws<UserErrorException>(() => _control.Balloon()).Message);
        _control.Stop(TimeSpan.Zero);
        _control.Kill();

        // One that takes the connection, and ends.
        FileStream running = _machine.TryLock()!;
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(_machine.Control));
        listener.Listen();
        HostThread.Start("monitor", () =>
        {
            using Socket client = listener.Accept();
            running.Dispose();
        }, null);
        Assert.Equal("The machine box has ended meanwhile: 'yado start box' starts it again.", Assert.Throws<UserErrorException>(() => _control.Balloon()).Message);
    }

    [Fact]
    public async Task Monitor_that_does_not_speak_http_does_not_answer()
    {
        using FileStream running = _machine.TryLock()!;
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(_machine.Control));
        listener.Listen();
        Task<int> asked = Task.Run(() =>
        {
            int count = 0;
            try
            {
                while (true)
                {
                    using Socket client = listener.Accept();
                    client.Send("no such request\n"u8);
                    count++;
                }
            }
            catch (SocketException)
            {
                return count; // The test is over.
            }
        }, TestContext.Current.CancellationToken);
        Assert.Equal("The monitor of box does not answer: try again, or 'yado kill box' ends it.", Assert.Throws<UserErrorException>(() => _control.Balloon()).Message);
        listener.Dispose();
        Assert.InRange(await asked, 2, 1000);
    }
}
