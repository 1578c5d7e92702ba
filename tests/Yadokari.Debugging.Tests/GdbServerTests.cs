using System.Text;
using Yadokari.Core;
using Yadokari.Debugging.Gdb;

namespace Yadokari.Debugging.Tests;

public sealed class GdbServerTests
{
    private const string CodeAddress = "ffffffff81000000";

    [Fact]
    public void Attaching_stops_the_guest_and_detaching_lets_it_go()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using (var client = guest.Connect())
        {
            Assert.Equal("T05thread:1;", client.Ask("?"));
            long stopped = guest.Machine.Vcpus[0].Executed;
            Assert.Equal("1", client.Ask("qAttached"));
            Assert.Equal(stopped, guest.Machine.Vcpus[0].Executed);
            Assert.Equal("OK", client.Ask($"Z0,{CodeAddress},1"));
            Assert.Equal("OK", client.Ask("D"));
            Assert.True(client.IsClosed());
        }

        guest.AwaitProgress();
        Assert.Equal(0, guest.Machine.Vcpus[0].BreakpointCount);
    }

    [Fact]
    public void A_client_that_vanishes_while_the_guest_runs_leaves_no_breakpoint()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using (var client = guest.Connect())
        {
            Assert.Equal("OK", client.Ask("Z1,ffffffff81000100,1"));
            client.SendPacket("c");
            Assert.Equal('+', client.ReadByte());
        }

        using var next = guest.ConnectWhenFree();
        Assert.Equal("T05thread:1;", next.Ask("?"));
        Assert.Equal(0, guest.Machine.Vcpus[0].BreakpointCount);
    }

    [Fact]
    public void Breakpoints_stop_before_their_instruction_and_steps_after_one()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        Assert.Contains("swbreak+", client.Ask("qSupported:swbreak+;hwbreak+"));
        Assert.Equal("OK", client.Ask("Z0,ffffffff81000004,1"));
        Assert.Equal("T05thread:1;swbreak:;", Resume(client, "vCont;c"));
        Assert.Equal(0x81000004, Rip(client));
        ulong before = Register(client, "rcx");
        Assert.Equal("OK", client.Ask("z0,ffffffff81000004,1"));
        Assert.Equal("T05thread:1;", Resume(client, "vCont;s:1"));
        Assert.Equal(0x81000007, Rip(client));
        Assert.Equal(before + 1, Register(client, "rcx"));
        Assert.Equal("OK", client.Ask("Z1,ffffffff81000003,1"));
        Assert.Equal("T05thread:1;hwbreak:;", Resume(client, "c"));
        Assert.Equal(ScriptedMachine.Loop, guest.Code(ScriptedMachine.Loop.Length));
    }

    [Fact]
    public void Ctrl_C_stops_a_running_guest_and_everything_else_waits_until_then()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        client.SendPacket("c");
        Assert.Equal('+', client.ReadByte());
        Assert.Equal(GdbCommands.Busy, client.Ask("g"));
        client.SendRaw("\u0003");
        Assert.Equal("T02thread:1;", client.ReadPacket());
        Assert.Equal("T02thread:1;", client.Ask("?"));
    }

    [Fact]
    public void Registers_are_numbered_as_described_and_written_back()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        string all = client.Ask("g");
        Assert.Equal(GuestRegisters.All.Sum(r => r.Bits / 4), all.Length);
        Assert.Equal(0x8005_0033u, Register(client, "cr0"));
        Assert.Equal(0x7FFF_0000_1234u, Register(client, "k_gs_base"));
        Assert.Equal(0xFFFF_8880_0000_0000u, Register(client, "gs_base"));
        Assert.Equal(0x10u, Register(client, "cs"));
        Assert.Equal(0x37Fu, Register(client, "fctrl"));
        Assert.Equal(0xFFFFu, Register(client, "ftag"));
        Assert.Equal("42" + new string('0', 30), client.Ask($"p{Number("xmm0"):x}"));

        Assert.Equal("OK", client.Ask($"P{Number("r9"):x}=efbeadde00000000"));
        Assert.Equal("OK", client.Ask($"P{Number("cr8"):x}=0900000000000000"));
        Assert.Equal("OK", client.Ask($"P{Number("ymm3h"):x}=000102030405060708090a0b0c0d0e0f"));
        Assert.Equal(0xDEADBEEFu, Register(client, "r9"));
        Assert.Equal(9, guest.Machine.Host.ReadTaskPriority(0));
        Assert.Equal("000102030405060708090a0b0c0d0e0f", client.Ask($"p{Number("ymm3h"):x}"));
        Assert.Equal(new string('0', 32), client.Ask($"p{Number("ymm2h"):x}"));

        Assert.Equal("OK", client.Ask("G" + all));
        Assert.Equal(0u, Register(client, "r9"));
        Assert.Equal(all, client.Ask("g"));
    }

    [Fact]
    public void Memory_is_read_and_written_by_virtual_address_as_far_as_it_is_mapped()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        Assert.Equal("48ffc090", client.Ask($"m{CodeAddress},4"));
        Assert.Equal("E0e", client.Ask("m1000,4"));
        Assert.Equal(8, client.Ask("mffffffff81000ffc,100").Length);
        Assert.Equal("E0e", client.Ask("mffffffffffffffff,100"));

        Assert.Equal("OK", client.Ask("Mffffc90000000f00,3:0102ff"));
        Assert.Equal("OK", client.Ask("Xffffc90000000f03,4:#}$*"));
        Assert.Equal("0102ff237d242a", client.Ask("mffffc90000000f00,7"));
        Assert.Equal("OK", client.Ask("Xffffc90000000f00,0:"));
        Assert.Equal("E0e", client.Ask("M1000,1:00"));
    }

    [Fact]
    public void Each_vcpu_is_a_thread_that_can_step_alone()
    {
        using var guest = new Served(ScriptedMachine.Loop, vcpus: 3);
        using var client = guest.Connect();
        Assert.Equal("m1,2,3", client.Ask("qfThreadInfo"));
        Assert.Equal("l", client.Ask("qsThreadInfo"));
        Assert.Equal("OK", client.Ask("T3"));
        Assert.StartsWith("E", client.Ask("T4"));
        Assert.StartsWith("vCPU 2", Encoding.UTF8.GetString(Convert.FromHexString(client.Ask("qThreadExtraInfo,3"))));

        long[] before = [.. guest.Machine.Vcpus.Select(v => v.Executed)];
        Assert.Equal("T05thread:2;", Resume(client, "vCont;s:2"));
        Assert.Equal([before[0], before[1] + 1, before[2]], guest.Machine.Vcpus.Select(v => v.Executed));

        Assert.Equal("OK", client.Ask("Hg3"));
        Assert.Equal("OK", client.Ask("P0=7700000000000000"));
        Assert.Equal("OK", client.Ask("Hg1"));
        Assert.NotEqual(0x77u, Register(client, "rax"));
        Assert.StartsWith("T05thread:2;", Resume(client, "vCont;s:2;c"));
        Assert.True(guest.Machine.Vcpus[1].Executed == before[1] + 2);
    }

    [Fact]
    public void Stepping_over_HLT_ends_and_a_halted_guest_can_be_stopped()
    {
        using var guest = new Served([0x90, 0xF4, 0x90, 0xF4], startStopped: true);
        using var client = guest.Connect();
        Assert.Equal("T05thread:1;", Resume(client, "s"));
        Assert.Equal("T05thread:1;", Resume(client, "s"));
        Assert.Equal(0x81000002, Rip(client));
        client.SendPacket("c");
        Assert.Equal('+', client.ReadByte());
        client.SendRaw("\u0003");
        Assert.Equal("T02thread:1;", client.ReadPacket());
    }

    [Fact]
    public void A_triple_fault_is_shown_before_the_machine_acts_on_it()
    {
        using var guest = new Served([0x90, 0x0F, 0x0B], startStopped: true);
        using var client = guest.Connect();
        Assert.StartsWith("O", Resume(client, "c"));
        Assert.Equal("T06thread:1;", client.ReadPacket());
        Assert.Equal(0x81000001, Rip(client));
        Assert.Equal("W03", Resume(client, "c"));
        Assert.True(client.IsClosed());
    }

    [Fact]
    public void Kill_ends_the_machine()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        client.SendPacket("k");
        Assert.True(client.IsClosed());
        using var next = guest.Connect();
        Assert.True(next.IsClosed());
    }

    [Fact]
    public void Monitor_commands_answer_in_words()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        Assert.Contains("pagewalk ADDR", Monitor(client, "help"));
        string regs = Monitor(client, "regs");
        Assert.Contains("CR0 0000000080050033 [PE MP ET NE WP AM PG]", regs);
        Assert.Contains("=> ffffffff810000", regs);
        Assert.Contains("physical address 8000", Monitor(client, "pagewalk 0xffffffff81000000"));
        Assert.Contains("not mapped", Monitor(client, "pagewalk 1234"));
        Assert.Contains("not canonical", Monitor(client, "pagewalk 8000000000000000"));
        Assert.Contains("not a hexadecimal address", Monitor(client, "pagewalk here"));
        Assert.Contains("no such command", Monitor(client, "frobnicate"));
        Assert.Contains("* vCPU 0 at ffffffff8100000", Monitor(client, "vcpus"));
        Assert.Contains("c0000102  00007fff00001234", Monitor(client, "msrs"));
    }

    [Fact]
    public void The_description_comes_in_pieces()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        var xml = new StringBuilder();
        string piece;
        do
        {
            piece = client.Ask($"qXfer:features:read:target.xml:{xml.Length:x},400");
            xml.Append(piece.AsSpan(1));
        }
        while (piece[0] == 'm');

        Assert.Equal('l', piece[0]);
        Assert.Equal(TargetDescription.Xml, xml.ToString());
        Assert.Equal("l", client.Ask("qXfer:features:read:target.xml:ffffffff,400"));
        Assert.Equal("E00", client.Ask("qXfer:features:read:other.xml:0,400"));
    }

    [Fact]
    public void Acknowledgements_repeat_on_request_and_stop_when_agreed()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        Assert.Equal("QC1", client.Ask("qC"));
        client.SendRaw("-");
        Assert.Equal("QC1", client.ReadPacket());
        client.SendRaw("$qC#00");
        Assert.Equal('-', client.ReadByte());
        Assert.Equal("OK", client.Ask("QStartNoAckMode"));
        client.SendPacket("qC");
        Assert.Equal("QC1", client.ReadPacket());
    }

    [Theory]
    [InlineData("")]
    [InlineData("m")]
    [InlineData("m,")]
    [InlineData("mzz,4")]
    [InlineData("m0,ffffffffffffffffff")]
    [InlineData("M0,4:0")]
    [InlineData("M0,ffffffff:00")]
    [InlineData("X0,9:a")]
    [InlineData("p")]
    [InlineData("pffffffffffffffff")]
    [InlineData("P0=")]
    [InlineData("P0=00")]
    [InlineData("P=11")]
    [InlineData("G00")]
    [InlineData("Z")]
    [InlineData("Z0")]
    [InlineData("Z0,zz,1")]
    [InlineData("Z9,0,1")]
    [InlineData("H")]
    [InlineData("Hg99")]
    [InlineData("T")]
    [InlineData("vCont;")]
    [InlineData("vCont;x:1")]
    [InlineData("vCont;c:77")]
    [InlineData("cxyz")]
    [InlineData("q")]
    [InlineData("qXfer")]
    [InlineData("qXfer:features:read:target.xml:")]
    [InlineData("qRcmd,0")]
    [InlineData("qThreadExtraInfo,")]
    [InlineData("vMustReplyEmpty")]
    [InlineData("\u00ff\u0000\u0080")]
    public void Malformed_packets_get_an_error_or_nothing_and_the_session_lives(string packet)
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        Assert.Matches("^(E..)?$", client.Ask(packet));
        Assert.Equal("QC1", client.Ask("qC"));
    }

    [Fact]
    public void Garbage_by_the_kilobyte_leaves_the_server_up()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        var random = new Random(7);
        for (int round = 0; round < 5; round++)
        {
            using RawClient client = guest.ConnectWhenFree();
            byte[] noise = new byte[20_000];
            random.NextBytes(noise);
            try
            {
                client.SendRaw(Encoding.Latin1.GetString(noise));
            }
            catch (IOException)
            {
                // Sent away, which is an answer too.
            }
        }

        using RawClient next = guest.ConnectWhenFree();
        Assert.Equal("QC1", next.Ask("qC"));
    }

    [Fact]
    public void A_second_debugger_is_sent_away()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        Assert.Equal("QC1", client.Ask("qC"));
        using var second = guest.Connect();
        Assert.True(second.IsClosed());
        Assert.Equal("QC1", client.Ask("qC"));
    }

    [Fact]
    public void The_end_of_the_machine_reaches_the_debugger()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        using var client = guest.Connect();
        client.SendPacket("c");
        Assert.Equal('+', client.ReadByte());
        guest.Machine.End(0);
        guest.Server.Dispose();
        Assert.Equal("W00", client.ReadPacket());
        Assert.True(client.IsClosed());
    }

    [Fact]
    public void Ports_that_cannot_be_had_are_one_sentence()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        int taken = guest.Server.EndPoint.Port;
        string message = Assert.Throws<UserErrorException>(() => GdbServer.Start(guest.Machine.Target, taken)).Message;
        Assert.Contains($"--gdb {taken}", message);
        Assert.Contains("give another port", message);
        Assert.DoesNotContain('\n', message);
        Assert.Contains("70000", Assert.Throws<UserErrorException>(() => GdbServer.Start(guest.Machine.Target, 70000)).Message);
        Assert.Contains("-1", Assert.Throws<UserErrorException>(() => GdbServer.Start(guest.Machine.Target, -1)).Message);
    }

    private static string Resume(RawClient client, string packet)
    {
        client.SendPacket(packet);
        Assert.Equal('+', client.ReadByte());
        return client.ReadPacket();
    }

    private static string Monitor(RawClient client, string command)
    {
        var text = new StringBuilder();
        for (string answer = client.Ask("qRcmd," + HexText.FromText(command)); answer != "OK"; answer = client.ReadPacket())
        {
            Assert.StartsWith("O", answer);
            text.Append(Encoding.UTF8.GetString(Convert.FromHexString(answer[1..])));
        }

        return text.ToString();
    }

    private static int Number(string name) => GuestRegisters.All.Select((r, i) => (r.Name, i)).Single(r => r.Name == name).i;

    private static ulong Register(RawClient client, string name)
    {
        byte[] bytes = Convert.FromHexString(client.Ask($"p{Number(name):x}"));
        return bytes.Reverse().Aggregate(0UL, (value, b) => (value << 8) | b);
    }

    private static uint Rip(RawClient client) => (uint)Register(client, "rip");
}
