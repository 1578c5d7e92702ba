namespace Yadokari.Translation.Tests;

public sealed class EmulationStringTests
{
    private const ulong Data = EmulationMachine.Data;

    [Theory]
    [InlineData(0x000, 0x0800, 0x900, false)]
    [InlineData(0x000, 0x0001, 0x900, false)]
    [InlineData(0x003, 0x0000, 0x900, false)]
    [InlineData(0x000, 0x0003, 0x1400, false)]
    [InlineData(0x010, 0x0000, 0x1400, true)]
    [InlineData(0x000, 0x0005, 0x800, true)]
    public void Movsb_overlaps_as_byte_loop_does(int source, int destination, int count, bool down)
    {
        using var m = new EmulationMachine(64);
        Span<byte> memory = m.Bytes(Data, 0x2000);
        new Random(1).NextBytes(memory);
        byte[] expected = memory.ToArray();
        for (int i = 0; i < count; i++)
        {
            int k = down ? count - 1 - i : i;
            expected[destination + k] = expected[source + k];
        }

        int start = down ? count - 1 : 0;
        m.Cpu.Rsi = Data + (ulong)(source + start);
        m.Cpu.Rdi = Data + (ulong)(destination + start);
        m.Cpu.Rcx = (ulong)count;
        m.Cpu.Rflags = down ? 0x402ul : 2;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xF3, 0xA4));
        Assert.True(memory.SequenceEqual(expected));
        ulong moved = down ? 0 - (ulong)count : (ulong)count;
        Assert.Equal((0ul, Data + (ulong)(source + start) + moved, Data + (ulong)(destination + start) + moved), (m.Cpu.Rcx, m.Cpu.Rsi, m.Cpu.Rdi));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void Movs_of_every_width_crosses_pages_unaligned(int bytes)
    {
        using var m = new EmulationMachine(64);
        new Random(2).NextBytes(m.Bytes(Data, 0x2000));
        m.Cpu.Rsi = Data + 0x7F3;
        m.Cpu.Rdi = 0x100000 - 0x1E5;
        m.Cpu.Rcx = (ulong)(0x1000 / bytes);
        byte[] code = bytes switch { 1 => [0xF3, 0xA4], 2 => [0x66, 0xF3, 0xA5], 4 => [0xF3, 0xA5], _ => [0xF3, 0x48, 0xA5] };
        Assert.Equal(Vcpu.Outcome.Next, m.Run(code));
        Assert.True(m.Bytes(Data + 0x7F3, 0x1000).SequenceEqual(m.Bytes(0x100000 - 0x1E5, 0x1000)));
    }

    [Fact]
    public void A_fault_leaves_finished_elements_counted()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rdi = EmulationMachine.Hole - 0x24;
        m.Cpu.Rax = 0x0102030405060708;
        m.Cpu.Rcx = 100;
        m.Faults(Vector.PageFault, 2, 0xF3, 0x48, 0xAB);
        Assert.Equal((96ul, EmulationMachine.Hole - 4), (m.Cpu.Rcx, m.Cpu.Rdi));
        Assert.Equal(EmulationMachine.Hole, m.Cpu.Cr2);
        Assert.Equal(0x0102030405060708ul, m[EmulationMachine.Hole - 12]);
        Assert.Equal(0u, (uint)(m[EmulationMachine.Hole - 8] >> 32));
    }

    [Fact]
    public void Long_repetitions_are_done_in_pieces()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rdi = 0x20000;
        m.Cpu.Rcx = 0x30000;
        m.Cpu.Rax = 0x55;
        Iced.Intel.Instruction stosb = Iced.Intel.Decoder.Create(64, new byte[] { 0xF3, 0xAA }).Decode();
        Assert.Equal(Vcpu.Outcome.Again, Emulation.Emulator.Execute(m.Cpu, stosb));
        Assert.Equal((0x20000ul, 0x30000ul), (m.Cpu.Rcx, m.Cpu.Rdi));
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xF3, 0xAA));
        Assert.Equal(-1, m.Bytes(0x20000, 0x30000).IndexOfAnyExcept((byte)0x55));
    }

    [Theory]
    [InlineData(0xF2, 0x42, 7, 0x46)]
    [InlineData(0xF3, 0x41, 8, 0x83)]
    [InlineData(0xF2, 0x99, 5, 0x10)]
    public void Scans_stop_at_the_right_element(int prefix, ulong al, int kind, ulong flags)
    {
        using var m = new EmulationMachine(64);
        m.Bytes(Data + 0xFF0, 0x100).Fill(0x41);
        m.Bytes(Data + 0x1010, 1)[0] = 0x42;
        m.Cpu.Rdi = Data + 0xFF0;
        m.Cpu.Rax = al;
        m.Cpu.Rcx = 0x80;
        Assert.Equal(Vcpu.Outcome.Next, m.Run((byte)prefix, 0xAE));
        bool found = kind != 5;
        Assert.Equal(found ? (Data + 0x1011, 0x5Ful) : (Data + 0x1070, 0ul), (m.Cpu.Rdi, m.Cpu.Rcx));
        ulong mask = kind == 5 ? 0x40ul : 0x41;
        Assert.Equal(flags & mask, m.Cpu.Rflags & mask);
    }

    [Fact]
    public void Compare_stops_at_difference_with_its_flags()
    {
        using var m = new EmulationMachine(64);
        m.Bytes(Data, 0x2000).Clear();
        m[Data + 0x800] = 1;
        m.Cpu.Rsi = Data;
        m.Cpu.Rdi = Data + 0x1000;
        m.Cpu.Rcx = 0x200;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xF3, 0x48, 0xA7));
        Assert.Equal((0x200ul - 0x101, Data + 0x808), (m.Cpu.Rcx, m.Cpu.Rsi));
        Assert.Equal(0ul, m.Cpu.Rflags & 0x41);
        m.Cpu.Rsi = Data;
        m.Cpu.Rdi = Data + 0x800;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xA6));
        Assert.Equal(0x95ul, m.Cpu.Rflags & 0x8D5);
    }

    [Fact]
    public void Outs_writes_each_element_and_ins_fills()
    {
        using var m = new EmulationMachine(64);
        m[Data] = 0x0807060504030201;
        m.Cpu.Rsi = Data;
        m.Cpu.Rdx = 0x12;
        m.Cpu.Rcx = 3;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xF3, 0x66, 0x6F));
        Assert.Equal([0x0201ul, 0x0403, 0x0605], m.PortWrites.Select(w => w.Value));
        m.Cpu.Rdi = Data;
        m.Cpu.Rcx = 5;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xF3, 0x6C));
        Assert.Equal(0x0807061212121212ul, m[Data]);
    }

    [Fact]
    public void Sixteen_bit_pointers_wrap()
    {
        using var m = new EmulationMachine(16);
        m.Cpu.Rsi = 0xFFFE;
        m.Cpu.Rdi = 0x4000;
        m.Cpu.Rcx = 4;
        m[0xFFFE] = 0x2211;
        m[0] = 0x4433;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xF3, 0xA4));
        Assert.Equal(0x44332211u, (uint)m[0x4000]);
        Assert.Equal((2ul, 0x4004ul, 0ul), (m.Cpu.Rsi, m.Cpu.Rdi, m.Cpu.Rcx));
    }

    [Theory]
    [InlineData(0xA6)]
    [InlineData(0xAC)]
    [InlineData(0xD7)]
    public void A_prefix_of_the_stacks_segment_means_nothing_in_64_bit_mode(byte opcode)
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rsi = m.Cpu.Rbx = 0x8000_0000_0000_0000;
        m.Cpu.Rdi = EmulationMachine.Data;
        m.Faults(Vector.GeneralProtection, 0, 0x36, opcode);
    }
}
