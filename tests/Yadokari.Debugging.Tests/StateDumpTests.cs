using Yadokari.Debugging.Dump;
using Yadokari.X86.State;

namespace Yadokari.Debugging.Tests;

public sealed class StateDumpTests
{
    [Fact]
    public void A_stopped_vcpu_is_shown_with_code_stack_and_page_walk()
    {
        // mov eax, 1; nop; ud2; ret
        using var machine = new ScriptedMachine([0xB8, 1, 0, 0, 0, 0x90, 0x0F, 0x0B, 0xC3], startStopped: true);
        ScriptedVcpu vcpu = machine.Vcpus[0];
        var state = new X86State();
        vcpu.Save(state);
        state.Rip += 6;
        vcpu.Load(state);
        Assert.True(vcpu.WriteLinear(ScriptedMachine.StackTop - 64, [0xEF, 0xBE, 0xAD, 0xDE]));

        string text = Dump(writer => StateDump.Write(writer, vcpu, machine.Memory));
        Assert.StartsWith("vCPU 0, 64-bit mode, ring 0", text);
        Assert.Contains("RSP ffffc90000000fc0", text);
        Assert.Contains("KERNEL_GS_BASE 00007fff00001234", text);
        Assert.Contains("CS  0010  base 0000000000000000  limit ffffffff  a09b code 64, dpl 0", text);
        Assert.Matches(@"\n     ffffffff81000000  b801000000\s+mov eax, 1\n", text);
        Assert.Matches(@"\n  => ffffffff81000006  0f0b\s+ud2\n", text);
        Assert.Contains("ffffc90000000fc0  00000000deadbeef", text);
        Assert.Matches(@"PML4E  \[ 511\] at 1ff8", text);
        Assert.Contains("physical address 8006", text);
    }

    [Fact]
    public void A_wild_instruction_and_stack_pointer_are_said_so()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, startStopped: true);
        var state = new X86State { Rip = 0x1234, Efer = 0x500, Cr0 = 0x8000_0001, Cr3 = 0x1000 };
        state.Segments[1] = new SegmentState(8, 0, 0, 0xA09B);
        string text = Dump(writer => StateDump.Write(writer, state, machine.Vcpus[0].ReadLinear, machine.Memory));
        Assert.Contains("=> 0000000000001234  not mapped", text);
        Assert.Contains("0000000000000000  not mapped", text);
        Assert.EndsWith("  not mapped\n", text);
    }

    [Fact]
    public void Real_mode_code_is_read_through_its_segment()
    {
        var state = new X86State { Rip = 0xFFF0, Cr0 = 0x6000_0010 };
        state.Segments[1] = new SegmentState(0xF000, 0xFFFF_0000, 0xFFFF, 0x9B);
        bool Read(ulong address, Span<byte> data)
        {
            data.Clear();
            if (address == 0xFFFF_FFF0)
            {
                ((ReadOnlySpan<byte>)[0xEA, 0x5B, 0xE0, 0x00, 0xF0]).CopyTo(data);
            }

            return true;
        }

        string text = Dump(writer => StateDump.Write(writer, state, Read, null));
        Assert.Matches(@"=> 000000000000fff0  ea5be000f0\s+jmp .*0xe05b", text);
        Assert.Contains("0000000000000000  0000 0000 0000 0000", text);
    }

    [Fact]
    public void Walks_know_large_pages_and_the_32_bit_formats()
    {
        using var machine = new ScriptedMachine(ScriptedMachine.Loop, startStopped: true);
        // 4 MiB page 3 at 0x20000; PAE directory pointer 1 at 0x21020 to 0x22000, whose entry 2 is a 2 MiB page.
        machine.Memory.Write(0x2000C, [0x83, 0x00, 0x40, 0x00]);
        machine.Memory.Write(0x21028, [0x01, 0x20, 0x02, 0, 0, 0, 0, 0]);
        machine.Memory.Write(0x22010, [0xE3, 0x00, 0x20, 0, 0, 0, 0, 0x80]);

        var legacy = new X86State { Cr0 = 0x8000_0001, Cr3 = 0x20000, Cr4 = 0x10 };
        ulong? physical = null;
        Assert.Contains("large", Dump(w => physical = PageWalkTrace.Write(w, legacy, machine.Memory, 0xC0_1234)));
        Assert.Equal(0x40_1234u, physical);

        var pae = new X86State { Cr0 = 0x8000_0001, Cr3 = 0x21020, Cr4 = 0x20 };
        Assert.Contains("rw super A D NX large", Dump(w => physical = PageWalkTrace.Write(w, pae, machine.Memory, 0x4040_5678)));
        Assert.Equal(0x20_5678u, physical);

        var off = new X86State();
        Dump(w => physical = PageWalkTrace.Write(w, off, machine.Memory, 0x1234));
        Assert.Equal(0x1234u, physical);

        var lost = new X86State { Cr0 = 0x8000_0001, Cr3 = 0xF000_0000, Cr4 = 0x10 };
        Assert.Contains("is not in RAM", Dump(w => physical = PageWalkTrace.Write(w, lost, machine.Memory, 0)));
        Assert.Null(physical);
    }

    private static string Dump(Action<TextWriter> write)
    {
        using var writer = new StringWriter { NewLine = "\n" };
        write(writer);
        return writer.ToString();
    }
}
