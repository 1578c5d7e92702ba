using System.Buffers.Binary;
using Yadokari.Boards.Pc;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Core.Time;
using Yadokari.Debugging.Gdb;
using Yadokari.Devices.Serial;
using Yadokari.Machines;
using Yadokari.X86.Engines;

namespace Yadokari.Debugging.Tests;

/// <summary>A whole PC behind its debugger, with scripted processors in it.</summary>
public sealed class BoardTests
{
    private const ulong Entry = 0x100_0000;

    [Fact]
    public void A_PC_is_stopped_stepped_and_ended_by_its_debugger()
    {
        using var board = new Board(ScriptedMachine.Loop, cpus: 2);
        using var client = new RawClient(board.Server.EndPoint);
        Assert.Equal("m1,2", client.Ask("qfThreadInfo"));
        Assert.Equal(Entry, Rip(client));
        Assert.Equal("T05thread:1;", Resume(client, "vCont;s:1"));
        Assert.Equal(Entry + 3, Rip(client));
        Assert.Equal("OK", client.Ask($"Z0,{Entry + 7:x},1"));
        Assert.Equal("T05thread:1;", Resume(client, "vCont;c"));
        Assert.Equal(Entry + 7, Rip(client));
        Assert.Equal("OK", client.Ask($"z0,{Entry + 7:x},1"));
        client.SendPacket("c");
        Assert.Equal('+', client.ReadByte());
        client.SendRaw("\u0003");
        Assert.Equal("T02thread:1;", client.ReadPacket());
        client.SendPacket("k");
        Assert.True(client.IsClosed());
        Assert.Equal(EndReason.Stopped, board.End().Reason);
    }

    [Fact]
    public void A_PC_in_HLT_stays_there_when_a_debugger_looks()
    {
        using var board = new Board([0x90, 0xF4, 0x48, 0xFF, 0xC0, 0xF4], cpus: 1);
        using var client = new RawClient(board.Server.EndPoint);
        for (int i = 0; i < 3; i++)
        {
            client.SendPacket("c");
            Assert.Equal('+', client.ReadByte());
            Assert.True(SpinWait.SpinUntil(() => board.Vcpu.Halts > 0, TimeSpan.FromSeconds(20)));
            client.SendRaw("\u0003");
            Assert.Equal("T02thread:1;", client.ReadPacket());
            Assert.Equal(Entry + 2, Rip(client));
        }
    }

    [Fact]
    public void A_PC_that_waits_for_its_debugger_or_is_held_by_it_can_be_ended()
    {
        using (var waiting = new Board(ScriptedMachine.Loop, cpus: 2))
        {
            waiting.Pc.Stop();
            Assert.Equal(EndReason.Stopped, waiting.End().Reason);
            Assert.Equal(0, waiting.Vcpu.Executed);
        }

        using var held = new Board(ScriptedMachine.Loop, cpus: 2);
        using var client = new RawClient(held.Server.EndPoint);
        Assert.Equal(Entry, Rip(client));
        held.Pc.Stop();
        Assert.Equal(EndReason.Stopped, held.End().Reason);
        Assert.True(client.IsClosed());
    }

    [Fact]
    public void A_PC_that_its_debugger_stopped_can_be_paused_and_the_other_way_round()
    {
        using var board = new Board(ScriptedMachine.Loop, cpus: 2);
        using var client = new RawClient(board.Server.EndPoint);
        Assert.Equal("OK", client.Ask($"Z0,{Entry + 3:x},1"));
        Assert.Equal("T05thread:1;", Resume(client, "vCont;c"));
        Assert.True(board.Pc.Pause());
        Assert.Equal(Entry + 3, Rip(client));
        Assert.Equal("OK", client.Ask($"z0,{Entry + 3:x},1"));
        client.SendPacket("vCont;s:1");
        Assert.Equal('+', client.ReadByte());
        board.Pc.Resume();
        Assert.Equal("T05thread:1;", client.ReadPacket());
        Assert.Equal(Entry + 4, Rip(client));

        client.SendPacket("c");
        Assert.Equal('+', client.ReadByte());
        Assert.True(board.Pc.Pause());
        client.SendRaw("\u0003");
        Assert.Equal("T02thread:1;", client.ReadPacket());
        long stopped = board.Vcpu.Executed;
        board.Pc.Resume();
        Assert.Equal("OK", client.Ask("D"));
        Assert.True(SpinWait.SpinUntil(() => board.Vcpu.Executed > stopped, TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public void A_reset_of_a_PC_that_its_debugger_stopped_comes_when_it_goes_on()
    {
        using var board = new Board(ScriptedMachine.Loop, cpus: 2);
        using var client = new RawClient(board.Server.EndPoint);
        Assert.Equal("T05thread:1;", Resume(client, "vCont;s:1"));
        board.Pc.Host.PioWrite(0, PcLayout.ResetControl, [6]);
        Assert.Equal(Entry + 3, Rip(client));
        Assert.Equal("OK", client.Ask($"Z0,{Entry:x},1"));
        Assert.Equal("T05thread:1;", Resume(client, "vCont;c"));
        Assert.Equal((Entry, 1), (Rip(client), board.Vcpu.Executed));
    }

    private static string Resume(RawClient client, string packet)
    {
        client.SendPacket(packet);
        Assert.Equal('+', client.ReadByte());
        return client.ReadPacket();
    }

    private static ulong Rip(RawClient client) =>
        BinaryPrimitives.ReadUInt64LittleEndian(Convert.FromHexString(client.Ask("p10")));

    /// <summary>A PC that waits for its debugger before the first instruction, running on a thread of its own.</summary>
    private sealed class Board : IDisposable
    {
        private readonly string _kernel = Path.GetTempFileName();
        private readonly ScriptedEngine _engine = new();
        private readonly Task<MachineEnd> _run;

        public Board(byte[] code, int cpus)
        {
            File.WriteAllBytes(_kernel, PvhKernel(code));
            Pc = new Machine(new PcConfig { Memory = 32 << 20, Cpus = cpus, Kernel = _kernel, Console = new Silence(), Clock = new StillClock() }, _engine);
            var target = new DebugTarget(Pc.Vcpus, Pc.Memory, Pc.Host, Pc.RunControl, Pc.Stop, startStopped: true);
            Server = GdbServer.Start(target, 0);
            _run = Task.Factory.StartNew(
                () =>
                {
                    MachineEnd end = Pc.Run();
                    target.Finish(0);
                    return end;
                },
                TaskCreationOptions.LongRunning);
        }

        public Machine Pc { get; }

        public GdbServer Server { get; }

        public ScriptedVcpu Vcpu => (ScriptedVcpu)Pc.Vcpus[0];

        public MachineEnd End()
        {
            Assert.True(_run.Wait(TimeSpan.FromSeconds(20)));
            return _run.Result;
        }

        public void Dispose()
        {
            Pc.Stop();
            _run.Wait();
            Server.Dispose();
            Pc.Dispose();
            File.Delete(_kernel);
        }

        /// <summary>A static ELF executable of one segment with the note that PVH asks for.</summary>
        private static byte[] PvhKernel(byte[] code)
        {
            byte[] file = new byte[0x1000 + code.Length];
            Span<byte> elf = file;
            ((ReadOnlySpan<byte>)[0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1]).CopyTo(elf);
            BinaryPrimitives.WriteUInt16LittleEndian(elf[16..], 2);
            BinaryPrimitives.WriteUInt16LittleEndian(elf[18..], 62);
            BinaryPrimitives.WriteUInt32LittleEndian(elf[20..], 1);
            BinaryPrimitives.WriteUInt64LittleEndian(elf[24..], Entry);
            BinaryPrimitives.WriteUInt64LittleEndian(elf[32..], 64);
            BinaryPrimitives.WriteUInt16LittleEndian(elf[52..], 64);
            BinaryPrimitives.WriteUInt16LittleEndian(elf[54..], 56);
            BinaryPrimitives.WriteUInt16LittleEndian(elf[56..], 2);
            Segment(elf[64..], type: 1, 0x1000, Entry, (ulong)code.Length);
            Segment(elf[120..], type: 4, 0x200, 0, 20);
            BinaryPrimitives.WriteUInt32LittleEndian(elf[0x200..], 4);
            BinaryPrimitives.WriteUInt32LittleEndian(elf[0x204..], 4);
            BinaryPrimitives.WriteUInt32LittleEndian(elf[0x208..], 18);
            "Xen\0"u8.CopyTo(elf[0x20C..]);
            BinaryPrimitives.WriteUInt32LittleEndian(elf[0x210..], (uint)Entry);
            code.CopyTo(elf[0x1000..]);
            return file;
        }

        private static void Segment(Span<byte> header, uint type, ulong offset, ulong address, ulong size)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(header, type);
            BinaryPrimitives.WriteUInt32LittleEndian(header[4..], 7);
            BinaryPrimitives.WriteUInt64LittleEndian(header[8..], offset);
            BinaryPrimitives.WriteUInt64LittleEndian(header[16..], address);
            BinaryPrimitives.WriteUInt64LittleEndian(header[24..], address);
            BinaryPrimitives.WriteUInt64LittleEndian(header[32..], size);
            BinaryPrimitives.WriteUInt64LittleEndian(header[40..], size);
            BinaryPrimitives.WriteUInt64LittleEndian(header[48..], 4);
        }
    }

    private sealed class ScriptedEngine : IEngine
    {
        public string Name => "scripted";

        public Support Probe() => Support.Yes;

        public ulong ClockFrequency => 1_000_000_000;

        public IVm Create(VmSpec spec) => new StillMachine(spec.Memory);
    }

    /// <summary>Time stands still: no timer ever wakes a guest.</summary>
    private sealed class StillClock : IClock
    {
        public long Now => 0;

        public DateTime UtcNow => DateTime.UnixEpoch;

        public IAlarm CreateAlarm(Action fire) => new NoAlarm();

        private sealed class NoAlarm : IAlarm
        {
            public void Arm(long deadline)
            {
            }

            public void Cancel()
            {
            }

            public void Dispose()
            {
            }
        }
    }

    private sealed class Silence : IConsole
    {
        public void Write(ReadOnlySpan<byte> bytes)
        {
        }
    }
}
