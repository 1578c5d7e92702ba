using System.Diagnostics;

namespace Yadokari.Debugging.Tests;

/// <summary>The debugger itself is the judge of the protocol.</summary>
public sealed class RealGdbTests
{
    private const int PatienceMilliseconds = 120_000;

    [Fact]
    public void Gdb_attaches_breaks_steps_and_reads_registers_and_memory()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        string output = Gdb(
            guest,
            "hbreak *0xffffffff81000003",
            "continue",
            "printf \"at %lx\\n\", $rip",
            "delete",
            "break *0xffffffff81000007",
            "continue",
            "printf \"then %lx\\n\", $rip",
            "stepi",
            "printf \"stepped to %lx\\n\", $rip",
            "x/4i $rip",
            "info registers cr0 cr3 efer gs_base k_gs_base eflags",
            "set var $rbx = 0x1122334455667788",
            "printf \"rbx %lx\\n\", $rbx",
            "p $xmm0.uint128",
            "p $st0",
            "p $fctrl",
            "info registers ymm0",
            "set {int}0xffffc90000000f00 = 0x12345678",
            "x/wx 0xffffc90000000f00",
            "monitor regs",
            "detach");
        Assert.Contains("at ffffffff81000003", output);
        Assert.Contains("then ffffffff81000007", output);
        Assert.Contains("stepped to ffffffff81000000", output);
        Assert.Matches(@"=> 0xffffffff81000000:\s+inc\s+%rax", output);
        Assert.Matches(@"0xffffffff81000007:\s+jmp\s+0xffffffff81000000", output);
        Assert.Matches(@"cr0 .*\[ PE MP ET NE WP AM PG \]", output);
        Assert.Matches(@"efer .*\[ SCE LME LMA NXE \]", output);
        Assert.Matches(@"gs_base\s+0xffff888000000000", output);
        Assert.Matches(@"k_gs_base\s+0x7fff00001234", output);
        Assert.Contains("rbx 1122334455667788", output);
        Assert.Matches(@"\$1 = (66|0x42)", output);
        Assert.Matches(@"\$3 = (895|0x37f)", output);
        Assert.Matches(@"0xffffc90000000f00:\s+0x12345678", output);
        Assert.Contains("page walk of RIP", output);
        Assert.Contains("detached", output);
        Assert.DoesNotMatch("(?i)warning(?!: No executable)", output);
        Assert.Equal(0x1122334455667788u, StateOf(guest, 0).Gpr[3]);
        guest.AwaitProgress();
    }

    [Fact]
    public void Gdb_watches_by_single_steps_where_it_is_told_that_there_is_no_hardware_for_it()
    {
        using var guest = new Served(ScriptedMachine.Loop);
        string output = Gdb(
            guest,
            "hbreak *0xffffffff81000003",
            "continue",
            "delete",
            "watch *(int*)0xffffc90000000f00",
            "continue",
            "delete",
            "set can-use-hw-watchpoints 0",
            "watch $rax",
            "continue",
            "printf \"at %lx\\n\", $rip",
            "kill");
        Assert.Contains("Could not insert hardware watchpoint", output);
        Assert.Contains("Old value = ", output);
        Assert.Contains("at ffffffff81000003", output); // After the INC that is the loop's first instruction.
    }

    [Fact]
    public void Gdb_sees_each_vcpu_as_a_thread()
    {
        using var guest = new Served(ScriptedMachine.Loop, vcpus: 2);
        string output = Gdb(
            guest,
            "info threads",
            "thread 2",
            "break *0xffffffff81000004",
            "continue",
            "continue",
            "set scheduler-locking on",
            "thread 1",
            "stepi",
            "stepi",
            "printf \"rip %lx\\n\", $rip",
            "kill");
        Assert.Contains("vCPU 0, 64-bit mode, ring 0", output);
        Assert.Contains("vCPU 1, 64-bit mode, ring 0", output);
        Assert.Contains("[Switching to thread 2", output);
        Assert.Matches("Thread [12] .*hit Breakpoint 1", output);
        Assert.Matches("rip ffffffff8100000[0347]", output);
        Assert.Contains("killed", output);
    }

    [Fact]
    public void Gdb_is_told_of_a_triple_fault_and_of_the_end()
    {
        using var guest = new Served([0x90, 0x0F, 0x0B], startStopped: true);
        string output = Gdb(guest, "continue", "x/i $rip", "continue");
        Assert.Contains("vCPU 0: triple fault", output);
        Assert.Contains("SIGABRT", output);
        Assert.Matches(@"=> 0xffffffff81000001:\s+ud2", output);
        Assert.Matches("exited with code 0?3", output);
    }

    private static X86.State.X86State StateOf(Served guest, int vcpu)
    {
        var state = new X86.State.X86State();
        guest.Machine.Vcpus[vcpu].Save(state);
        return state;
    }

    private static string Gdb(Served guest, params string[] commands)
    {
        var start = new ProcessStartInfo("gdb") { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (string word in (string[])["-nx", "-batch", "-ex", "set pagination off", "-ex", $"target remote {guest.Server.EndPoint}"])
        {
            start.ArgumentList.Add(word);
        }

        foreach (string command in commands)
        {
            start.ArgumentList.Add("-ex");
            start.ArgumentList.Add(command);
        }

        Process? gdb = null;
        try
        {
            gdb = Process.Start(start);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // Not installed.
        }

        Assert.SkipWhen(gdb is null, "gdb is not installed (Debian: apt-get install gdb)");
        using (gdb)
        {
            gdb!.StandardInput.Close();
            Task<string> errors = gdb.StandardError.ReadToEndAsync();
            Task<string> output = gdb.StandardOutput.ReadToEndAsync();
            if (!gdb.WaitForExit(PatienceMilliseconds))
            {
                gdb.Kill();
            }

            return output.GetAwaiter().GetResult() + errors.GetAwaiter().GetResult();
        }
    }
}
