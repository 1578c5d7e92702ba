using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Translation.Direct;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>
/// Programs whose hot code shares a page with an instruction that must not run directly, as a PLT beside a constructor that asks CPUID:
/// stops are counted, not time.
/// </summary>
public sealed class DirectDetourTests
{
    private const int FewCalls = 1_000_000;
    private const int ManyCalls = 30_000_000;

    // Where the page of the function and of what shares it begins.
    private const ulong Function = 0x1000;

    /// <summary>Instructions that run differently under the monitor, or that the host may not be able to make stop.</summary>
    public static TheoryData<string, string> Neighbours => new()
    {
        { "CPUID", "0FA2" },
        { "RDTSC", "0F31" },
        { "XGETBV", "0F01D0" },
        { "RDPKRU", "0F01EE" },
        { "SGDT", "0F0107" },
    };

    [Theory]
    [MemberData(nameof(Neighbours))]
    public void A_hot_function_beside_it_does_not_stop_the_program_at_each_call(string name, string code) => OwnThread.Run(() =>
    {
        _ = name;
        foreach (bool faulting in (ReadOnlySpan<bool>)[true, false])
        {
            using var machine = new DirectMachine(DirectMode.Auto, faulting);
            Write(machine, code, ManyCalls);
            Assert.Equal(-1, machine.RunThroughTicks());
            Assert.Equal((ulong)ManyCalls, machine.Cpu.Gpr(12));

            // As often as it was taken on it stopped a few times, not at each of its calls.
            DirectExecution direct = machine.Cpu.Direct!;
            Assert.InRange(direct.Traps, 0, 8 * DirectAccount.MostDetours);
        }
    });

    [Fact]
    public void A_program_beside_none_is_taken_on() => OwnThread.Run(() =>
    {
        Support support = TranslationEngine.ProbeDirect();
        Assert.SkipUnless(support.Available, support.Reason);
        using var machine = new DirectMachine(DirectMode.Auto);
        Write(machine, "90", ManyCalls);
        int runs = 0;
        do
        {
            Assert.Equal(-1, machine.RunThroughTicks());
        }
        while (machine.Entries == 0 && ++runs < 200);
        Assert.True(machine.Cpu.Direct!.Promotions > 0);
    });

    [Theory]
    [InlineData(1, 20)]
    [InlineData(40, 0)]
    [InlineData(1, 2_000)]
    public void Each_burst_of_calls_stops_it_once(int calls, int loops) => OwnThread.Run(() =>
    {
        Support support = TranslationEngine.ProbeDirect();
        Assert.SkipUnless(support.Available, support.Reason);
        const int Bursts = 200;
        using var machine = new DirectMachine(DirectMode.Always, cpuidFaulting: false);
        machine.Assemble(c =>
        {
            Label burst = c.CreateLabel();
            Label call = c.CreateLabel();
            Label rest = c.CreateLabel();
            c.xor(r12d, r12d);
            c.mov(r13d, Bursts);
            c.mov(rbx, DirectMachine.Code + Function);
            c.mov(rsp, DirectMachine.Data + 0x1000);
            c.Label(ref burst);
            c.mov(r14d, calls);
            c.Label(ref call);
            c.call(rbx);
            c.dec(r14d);
            c.jnz(call);
            c.mov(ecx, 10_000);
            c.Label(ref rest);
            c.dec(ecx);
            c.jnz(rest);
            c.dec(r13d);
            c.jnz(burst);
            c.syscall();
        });
        machine.Assemble(Function, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(ecx, loops + 1);
            c.Label(ref loop);
            c.dec(ecx);
            c.jnz(loop);
            c.inc(r12);
            c.ret();
        });
        machine.Write(Convert.FromHexString("0FA2C3"), Function + 0x800);
        Assert.Equal(-1, machine.RunThroughTicks());
        Assert.Equal((ulong)(Bursts * calls), machine.Cpu.Gpr(12));

        // What comes after a burst runs directly, however long the code in the page took.
        Assert.InRange(machine.Cpu.Direct!.Traps, Bursts, Bursts + (Bursts / 10));
    });

    [Theory]
    [InlineData(DirectMode.Auto)]
    [InlineData(DirectMode.Always)]
    public void A_program_that_is_always_in_and_out_of_it_is_left_alone(DirectMode mode) => OwnThread.Run(() =>
    {
        // SHA-256's compression lies across the end of a page, and does nothing else.
        using var machine = new DirectMachine(mode, cpuidFaulting: false);
        Write(machine, "0FA2", ManyCalls / 10);
        Assert.Equal(-1, machine.RunThroughTicks());
        Assert.Equal((ulong)(ManyCalls / 10), machine.Cpu.Gpr(12));
        Assert.InRange(machine.Cpu.ExitsByKind.Sum(), 0, ManyCalls / 100);
    });

    [Theory]
    [InlineData(DirectMode.Off, "90")]
    [InlineData(DirectMode.Always, "90")]
    [InlineData(DirectMode.Always, "0F01EE")]
    [InlineData(DirectMode.Auto, "0F01EE")]
    public void No_call_is_lost_or_made_twice_whatever_interrupts(DirectMode mode, string neighbour) => OwnThread.Run(() =>
    {
        using var machine = new DirectMachine(mode);
        Write(machine, neighbour, FewCalls);
        using var stop = new CancellationTokenSource();
        var interrupts = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                machine.Interrupt();
                Thread.SpinWait(1000);
            }
        });
        interrupts.Start();
        int end = machine.RunThroughTicks();
        stop.Cancel();
        interrupts.Join();
        Assert.Equal(-1, end);
        Assert.Equal((ulong)FewCalls, machine.Cpu.Gpr(12));
    });

    private static void Write(DirectMachine machine, string neighbour, int calls)
    {
        machine.Assemble(c =>
        {
            Label loop = c.CreateLabel();
            c.xor(r12d, r12d);
            c.mov(r13d, calls);
            c.mov(rbx, DirectMachine.Code + Function);
            c.mov(rsp, DirectMachine.Data + 0x1000);
            c.Label(ref loop);
            c.call(rbx);
            c.dec(r13d);
            c.jnz(loop);
            c.syscall();
        });
        machine.Assemble(Function, c =>
        {
            c.inc(r12);
            c.ret();
        });
        machine.Write(Convert.FromHexString(neighbour + "C3"), Function + 0x800);
    }
}
