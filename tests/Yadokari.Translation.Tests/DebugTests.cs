using Yadokari.Core.Engines;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>Breakpoints on data, ports and code, and what a load of SS does to them (SDM 3A 6.8.3, SDM 3B 18.3).</summary>
public sealed class DebugTests
{
    private const ulong Code = 0x5000;
    private const ulong Handlers = 0x6000;
    private const ulong Watched = EmulationMachine.Data;

    // DR7: of DR0, two bytes to read and write; a byte of port; code.
    private const ulong Data = 0x70001;
    private const ulong Port = 0x20001;
    private const ulong Execution = 1;

    private const string MovSs = "8E1500002000";

    [Theory]
    [InlineData(MovSs + "90F4", Data, Watched, 7, "a load of SS, and NOP after it")]
    [InlineData(MovSs + "F1F4", Data, Watched, 7, "a load of SS, and INT1 after it")]
    [InlineData("A100002000F4", Data, Watched, 5, "a load of EAX")]
    [InlineData("BA200000000FA315FCFF1F00F4", Data, Watched, 12, "a bit beyond the operand of BT")]
    [InlineData("E680F4", Port, 0x80, 2, "OUT to an immediate port")]
    [InlineData("E480F4", Port, 0x80, 2, "IN from one")]
    [InlineData("66BA7F0066EFF4", Port, 0x80, 6, "OUT of a word that reaches the port")]
    [InlineData("E681F4", Port, 0x80, -1, "OUT to another port")]
    [InlineData("90F4", Execution, Code + 1, 1, "code")]
    [InlineData(MovSs + "90F4", Execution, Code + 6, 6, "code after a load of SS")]
    [InlineData("FB90F4", Execution, Code + 1, 1, "code after STI")]
    public void Breakpoints_are_taken(string code, ulong dr7, ulong dr0, int end, string what)
    {
        using EmulationMachine m = Machine(code, dr7, dr0);
        ulong esp = m.Cpu.Rsp;
        InlineTests.RunToHalt(m);
        if (end < 0)
        {
            Assert.True(m.Cpu.Rip < Handlers, $"{what}: {m.Cpu.Rip:X}");
            return;
        }

        Assert.Equal($"{what}: {Handlers + 2:X}", $"{what}: {m.Cpu.Rip:X}");
        Assert.Equal(Code + (ulong)end, m[esp - 12] & uint.MaxValue);
        Assert.Equal(1ul, m.Cpu.Dr[6] & 0xF);
    }

    [Fact]
    public void Ports_are_watched_with_debug_extensions_only()
    {
        using EmulationMachine m = Machine("E680F4", Port, 0x80);
        m.Cpu.Cr4 &= ~8ul;
        InlineTests.RunToHalt(m);
        Assert.True(m.Cpu.Rip < Handlers);
    }

    // The handler begins with an instruction that hits nothing: a second #DB there would nest.
    [Fact]
    public void What_a_load_of_the_stack_hit_is_taken_together_with_a_breakpoint_on_the_code_after_it()
    {
        using EmulationMachine m = Machine(MovSs + "90F4", Data | 8, Watched);
        m.Cpu.Dr[1] = Code + 6;
        ulong esp = m.Cpu.Rsp;
        InlineTests.RunToHalt(m);
        Assert.Equal(Handlers + 2, m.Cpu.Rip);
        Assert.Equal(esp - 12, m.Cpu.Rsp);
        Assert.Equal(3ul, m.Cpu.Dr[6] & 0xF);
    }

    [Fact]
    public void What_a_load_of_the_stack_hit_is_taken_before_the_handler_of_the_interrupt_after_it()
    {
        using EmulationMachine m = Machine(MovSs + "CD40F4", Data, Watched);
        ulong esp = m.Cpu.Rsp;
        InlineTests.RunToHalt(m);
        Assert.Equal(Handlers + 2, m.Cpu.Rip);
        Assert.Equal((Code + 8, Handlers + 0x40), (m[esp - 12] & uint.MaxValue, m[esp - 24] & uint.MaxValue));
    }

    // MOV [5040h], AL and HLT: a store to the page of its own code.
    [Theory]
    [InlineData(true, Code + 6)]
    [InlineData(false, Handlers + 2)]
    public void The_resume_flag_lets_one_instruction_run_at_its_breakpoint(bool resumes, ulong end)
    {
        using EmulationMachine m = Machine("A240500000F4", Execution, Code);
        m.Cpu.Rflags |= resumes ? 0x10000ul : 0;
        m.Cpu.Rax = 0x5A;
        InlineTests.RunToHalt(m);
        Assert.Equal(end, m.Cpu.Rip);
        Assert.Equal(resumes ? 0x5A : 0, m.Bytes(Code + 0x40, 1)[0]);
        Assert.Equal(0ul, m.Cpu.Rflags & 0x10000);
    }

    [Fact]
    public void A_stop_of_a_debugger_behind_sti_leaves_the_next_instruction_its_turn_before_an_interrupt()
    {
        using EmulationMachine m = Machine("FB90F4", 0, 0);
        ulong esp = m.Cpu.Rsp;
        m.Waiting.Enqueue(0x40);
        m.Cpu.SingleStep = true;
        Assert.Equal((VmExit.Debug, Code + 1), (m.Cpu.Run(), m.Cpu.Rip));
        Assert.Equal((VmExit.Debug, Handlers + 0x40), (m.Cpu.Run(), m.Cpu.Rip));
        Assert.Equal(Code + 2, m[esp - 12] & uint.MaxValue);
    }

    private static EmulationMachine Machine(string code, ulong dr7, ulong dr0)
    {
        var m = new EmulationMachine(32);
        m.Prepare(code, Handlers, 0x80);
        m.Bytes(Watched, 1)[0] = 0x10;
        m.Cpu.Cr4 |= 8;
        (m.Cpu.Dr[0], m.Cpu.Dr[7]) = (dr0, dr7);
        m.Cpu.ModeChanged();
        return m;
    }
}
