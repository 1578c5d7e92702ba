using Iced.Intel;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation.Tests;

public sealed class EmulationVectorTests
{
    private const ulong Data = EmulationMachine.Data;

    [Fact]
    public void Gather_stops_at_a_fault_and_goes_on_afterwards()
    {
        using EmulationMachine m = WithAvx();
        m[Data] = 0x22222222_11111111;
        Span<byte> area = Area(m);
        area[160..(160 + 48)].Clear();
        area[576..(576 + 48)].Clear();

        // XMM1 indices 0, 1, far, 1; XMM2 all ones; VPGATHERDD xmm0, [rbx+xmm1*4], xmm2.
        BitConverter.TryWriteBytes(area[(176 + 4)..], 1);
        BitConverter.TryWriteBytes(area[(176 + 8)..], (int)(EmulationMachine.Hole - Data) / 4);
        BitConverter.TryWriteBytes(area[(176 + 12)..], 1);
        area.Slice(192, 16).Fill(0xFF);
        BitConverter.TryWriteBytes(area[512..], 2ul);
        m.Cpu.Rbx = Data;
        m.Faults(Vector.PageFault, 0, 0xC4, 0xE2, 0x69, 0x90, 0x04, 0x8B);
        Assert.Equal(EmulationMachine.Hole, m.Cpu.Cr2);
        Assert.Equal(0x22222222_11111111ul, BitConverter.ToUInt64(area[160..]));
        Assert.Equal((0ul, ulong.MaxValue), (BitConverter.ToUInt64(area[192..]), BitConverter.ToUInt64(area[200..])));
        BitConverter.TryWriteBytes(area[(176 + 8)..], 0);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xC4, 0xE2, 0x69, 0x90, 0x04, 0x8B));
        Assert.Equal(0x22222222_11111111ul, BitConverter.ToUInt64(area[168..]));
        Assert.Equal(0ul, BitConverter.ToUInt64(area[200..]));
    }

    [Fact]
    public void Mask_move_writes_selected_bytes_only()
    {
        using EmulationMachine m = WithAvx();
        Span<byte> area = Area(m);
        area[160..192].Clear();
        area.Slice(160, 16).Fill(0xAB);
        area[176] = 0x80;
        area[178] = 0xFF;
        BitConverter.TryWriteBytes(area[512..], 2ul);
        m.Cpu.Rdi = EmulationMachine.Hole - 19;
        m[EmulationMachine.Hole - 24] = 0;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x66, 0x0F, 0xF7, 0xC1));
        Assert.Equal(0xAB00AB00_00000000ul, m[EmulationMachine.Hole - 24]);

        // The whole operand is checked, as soon as a byte is selected.
        m.Cpu.Rdi = EmulationMachine.Hole - 3;
        m.Faults(Vector.PageFault, 2, 0x66, 0x0F, 0xF7, 0xC1);
    }

    [Theory]
    [InlineData(new byte[] { 0xC4, 0xE2, 0x75, 0x2C, 0x03 }, 4, 0x5)]
    [InlineData(new byte[] { 0x62, 0xF1, 0x7F, 0xC9, 0x6F, 0x03 }, 1, 0xF00000000000000F)]
    [InlineData(new byte[] { 0x62, 0xF1, 0x7C, 0x49, 0x58, 0x03 }, 4, 0x000F)]
    [InlineData(new byte[] { 0x62, 0xF2, 0x7D, 0x49, 0x18, 0x03 }, 4, 1)]
    [InlineData(new byte[] { 0x62, 0xF1, 0x7E, 0x09, 0x10, 0x03 }, 4, 1)]
    [InlineData(new byte[] { 0x62, 0xF2, 0x7D, 0x49, 0x31, 0x03 }, 1, 0x000F)]
    [InlineData(new byte[] { 0x62, 0xF2, 0x7D, 0x49, 0x88, 0x03 }, 4, 0x000F)]
    public void Masks_select_elements(byte[] code, int bytes, ulong mask)
    {
        using EmulationMachine m = WithAvx();
        Span<byte> area = Area(m);
        Assert.SkipUnless(m.Cpu.Cpuid.Xcr0Supported > 7 || code[0] == 0xC4, "the host has no AVX-512");
        BitConverter.TryWriteBytes(area[512..], m.Cpu.Cpuid.Xcr0Supported);

        // YMM1 selects doublewords 0 and 2; k1 the four lowest and the four highest of 64.
        area[160..512].Clear();
        area[576..832].Clear();
        area[179] = 0x80;
        area[187] = 0x80;
        if (m.Cpu.Cpuid.Xcr0Supported > 7)
        {
            int k = (int)m.Cpu.Cpuid.Query(0xD, 5, default).Ebx;
            BitConverter.TryWriteBytes(area[(k + 8)..], 0xF00000000000000F);
        }

        Instruction instruction = Decoder.Create(64, code).Decode();
        Assert.False(instruction.IsInvalid);
        Assert.True(MaskedMoves.TryMask(m.Cpu, instruction, out MaskedOperand operand));
        Assert.Equal(new MaskedOperand(bytes, mask), operand);
    }

    [Fact]
    public void Masked_accesses_leave_other_elements_alone()
    {
        using EmulationMachine m = WithAvx();
        Span<byte> buffer = stackalloc byte[16];
        m[EmulationMachine.Hole - 8] = 0x0807060504030201;
        var operand = new MaskedOperand(4, 3);
        Assert.True(MaskedMoves.ReadMasked(m.Cpu, EmulationMachine.Hole - 8, buffer, operand));
        Assert.Equal((0x0807060504030201ul, 0ul), (BitConverter.ToUInt64(buffer), BitConverter.ToUInt64(buffer[8..])));
        buffer.Fill(9);
        Assert.True(MaskedMoves.WriteMasked(m.Cpu, EmulationMachine.Hole - 8, buffer, new MaskedOperand(4, 2)));
        Assert.Equal(0x0909090904030201ul, m[EmulationMachine.Hole - 8]);
        Assert.False(MaskedMoves.WriteMasked(m.Cpu, EmulationMachine.Hole - 8, buffer, new MaskedOperand(4, 5)));
        m.Cpu.ClearRaised();
        Assert.Equal(0x0909090904030201ul, m[EmulationMachine.Hole - 8]);
    }

    [Fact]
    public void Disabled_units_raise_their_exceptions()
    {
        using EmulationMachine m = WithAvx();
        m.Cpu.Cr0 |= 8;
        m.Faults(Vector.DeviceNotAvailable, 0, 0xD9, 0xE8);
        m.Faults(Vector.DeviceNotAvailable, 0, 0x0F, 0x58, 0xC1);
        m.Faults(Vector.DeviceNotAvailable, 0, 0xC5, 0xF0, 0x58, 0xC1);
        m.Cpu.Xcr0 = 3;
        m.Faults(Vector.InvalidOpcode, 0, 0xC5, 0xF0, 0x58, 0xC1);
        m.Cpu.Cr4 &= ~0x200ul;
        m.Faults(Vector.InvalidOpcode, 0, 0x0F, 0x58, 0xC1);
        m.Faults(Vector.InvalidOpcode, 0, 0x0F, 0x0B);
    }

    private static EmulationMachine WithAvx()
    {
        var m = new EmulationMachine(64);
        Assert.SkipUnless((m.Cpu.Cpuid.Xcr0Supported & 7) == 7, "the host has no AVX");
        m.Cpu.Cr4 |= 0x40600;
        m.Cpu.Xcr0 = m.Cpu.Cpuid.Xcr0Supported;
        return m;
    }

    private static unsafe Span<byte> Area(EmulationMachine m) => new(m.Cpu.XsaveArea, StateLayout.XsaveLength);
}
