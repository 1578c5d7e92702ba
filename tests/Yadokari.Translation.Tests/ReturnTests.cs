using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Translation.Direct;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>Return prediction: a return goes where the stack in the guest's memory says, whatever calls came before.</summary>
public sealed class ReturnTests
{
    private const ulong Code = DirectMachine.Code;
    private const ulong Data = DirectMachine.Data;
    private const ulong Stack = Data + 0x4000;

    [Fact]
    public void Recursion_deeper_than_the_return_stack_comes_back() => Translated(machine =>
    {
        machine.Assemble(c =>
        {
            Label down = c.CreateLabel();
            Label up = c.CreateLabel();
            c.mov(rsp, Stack);
            c.xor(eax, eax);
            c.mov(ecx, 1500);
            c.call(down);
            c.syscall();
            c.Label(ref down);
            c.dec(ecx);
            c.jz(up);
            c.call(down);
            c.Label(ref up);
            c.inc(eax);
            c.ret();
        });
        Assert.Equal(-1, machine.Run());
        Assert.Equal(1500ul, machine.Cpu.Rax);
    });

    [Fact]
    public void A_return_address_may_be_changed_or_made_up() => Translated(machine =>
    {
        machine.Assemble(c =>
        {
            Label skip = c.CreateLabel();
            Label made = c.CreateLabel();
            Label again = c.CreateLabel();
            c.mov(rsp, Stack);
            c.xor(eax, eax);
            c.mov(ecx, 3);
            c.Label(ref again);
            c.call(skip);
            c.inc(eax); // two bytes, skipped
            c.add(eax, 16);
            c.lea(rdx, __[made]);
            c.push(rdx);
            c.ret();
            c.ud2();
            c.Label(ref made);
            c.dec(ecx);
            c.jnz(again);
            c.syscall();
            c.Label(ref skip);
            c.add(__qword_ptr[rsp], 2);
            c.ret();
        });
        Assert.Equal(-1, machine.Run());
        Assert.Equal(48ul, machine.Cpu.Rax);
    });

    [Fact]
    public void A_page_that_shows_other_code_now_is_returned_to_as_it_is() => Translated(machine =>
    {
        // The callee ends in a system call; its caller's page is exchanged; a RET elsewhere then returns to the caller's address.
        machine.Assemble(c =>
        {
            Label callee = c.CreateLabel();
            c.mov(rsp, Stack);
            c.call(callee);
            c.mov(eax, 1);
            c.syscall();
            c.Label(ref callee);
            c.syscall();
        });
        machine.Assemble(0x1000, c => c.ret());
        Assert.Equal(-1, machine.Run());
        ulong back = machine[DirectMachine.DataGpa + 0x3FF8];

        ulong copy = DirectMachine.DataGpa + 0x6000;
        for (ulong i = 0; i < 4096; i += 8)
        {
            machine[copy + i] = machine[DirectMachine.CodeGpa + i];
        }

        // mov eax, 1 is five bytes, of which the second is the 1.
        ulong at = copy + (back - Code) + 1;
        machine[at & ~7ul] = (machine[at & ~7ul] & ~(0xFFul << (int)((at & 7) * 8))) | (2ul << (int)((at & 7) * 8));
        machine.Entry(Code) = copy | 5;
        machine.Cpu.FlushTlbPage(Code);
        machine.Cpu.Rsp = Stack - 8;
        Assert.Equal(-1, machine.Run(0x1000));
        Assert.Equal(2ul, machine.Cpu.Rax);
    });

    [Fact]
    public void A_call_at_the_end_of_a_page_returns_to_the_next() => Translated(machine =>
    {
        machine.Assemble(0xFFB - 12, c =>
        {
            Label callee = c.CreateLabel();
            c.mov(rsp, Stack); // ten bytes
            c.xor(eax, eax); // two
            c.call(callee); // five, to the end of the page
            c.add(eax, 2);
            c.syscall();
            c.Label(ref callee);
            c.inc(eax);
            c.ret();
        });
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(-1, machine.Run(0xFFB - 12));
            Assert.Equal(3ul, machine.Cpu.Rax);
        }
    });

    [Fact]
    public void A_return_to_the_last_address_of_all_is_no_entry_of_the_stack() => Translated(machine =>
    {
        machine.Assemble(c =>
        {
            c.mov(rsp, Stack);
            c.push(-1);
            c.ret();
        });
        Assert.Equal(14, machine.Run());
        Assert.Equal(ulong.MaxValue, machine.Cpu.Cr2);
        Assert.Equal(ulong.MaxValue, machine.Frame(4));
    });

    [Fact]
    public void Nothing_but_calls_and_returns_can_be_stopped() => Translated(machine =>
    {
        // Each function calls the next one twice: 2 to the 60th power returns, and no jump backwards.
        machine.Assemble(c =>
        {
            c.mov(rsp, Stack);
            for (int i = 0; i < 60; i++)
            {
                Label next = c.CreateLabel();
                c.call(next);
                c.call(next);
                c.ret();
                c.Label(ref next);
            }

            c.ret();
        });
        using Timer timer = new(_ => machine.Cpu.Kick(), null, 50, Timeout.Infinite);
        Assert.Equal(VmExit.Kicked, machine.RunToExit());
    });

    private static void Translated(Action<DirectMachine> test) => DirectMachine.OnThreadOfItsOwn(() =>
    {
        using DirectMachine machine = new(DirectMode.Off);
        test(machine);
    });
}
