using Yadokari.Conformance.Tests.Native;

namespace Yadokari.Conformance.Tests;

/// <summary>The oracle itself against results worked out by hand.</summary>
public sealed class NativeProcessorTests : IDisposable
{
    private const ulong Carry = 1, Parity = 4, Adjust = 0x10, Zero = 0x40, Sign = 0x80, Direction = 0x400, Overflow = 0x800;
    private const ulong Arithmetic = Carry | Parity | Adjust | Zero | Sign | Overflow;

    private readonly NativeProcessor _processor = new();
    private readonly Outcome _after = new();

    /// <inheritdoc/>
    public void Dispose() => _processor.Dispose();

    [Fact]
    public void Every_register_survives_an_int3()
    {
        MachineImage before = MachineImage.With(0xCC);
        for (int i = 0; i < 16; i++)
        {
            before.Gpr[i] = 0x1111_2222_3333_0000 + (ulong)i;
        }

        Span<byte> vector = stackalloc byte[64];
        for (int i = 0; i < (XsaveLayout.HasAvx512 ? 32 : 16); i++)
        {
            vector.Fill((byte)(i + 1));
            XsaveLayout.WriteVector(before.Xsave, i, vector);
        }

        before.Gpr[4] = _processor.Refuses(before) is null ? before.Gpr[4] : Arena.Data;
        before.Rflags = 0x202 | Carry | Sign | Direction;
        _processor.Run(before, _after);

        Assert.Equal(3, _after.Vector);
        Assert.Equal(Arena.Code + 1, _after.Rip);
        Assert.Equal(before.Gpr, _after.Gpr);
        Assert.Equal(before.Rflags, _after.Rflags & ~0x10000UL);
        Assert.Equal(before.Xsave, _after.Xsave);
        Assert.Equal(before.Memory, _after.Memory);
    }

    [Fact]
    public void Addition_overflows()
    {
        // add rax, rcx
        MachineImage before = MachineImage.With(0x48, 0x01, 0xC8);
        before.Gpr[0] = 0x7FFF_FFFF_FFFF_FFFF;
        before.Gpr[1] = 1;
        _processor.Run(before, _after);

        Assert.Equal(3, _after.Vector);
        Assert.Equal(0x8000_0000_0000_0000UL, _after.Gpr[0]);
        Assert.Equal(Overflow | Sign | Adjust | Parity, _after.Rflags & Arithmetic);
    }

    [Fact]
    public void Division_by_zero_faults_at_the_instruction()
    {
        // div rcx
        _processor.Run(MachineImage.With(0x48, 0xF7, 0xF1), _after);

        Assert.Equal(0, _after.Vector);
        Assert.Equal(Arena.Code, _after.Rip);
    }

    [Fact]
    public void Undefined_opcode_faults()
    {
        _processor.Run(MachineImage.With(0x90, 0x0F, 0x0B), _after);

        Assert.Equal(6, _after.Vector);
        Assert.Equal(Arena.Code + 1, _after.Rip);
    }

    [Theory]
    [InlineData(Arena.Data + 0x3008, Arena.Data + 0x3008, 7)]
    [InlineData(Arena.Data + 0x4010, Arena.Data + 0x4010, 6)]
    [InlineData(Arena.Data + 0x5FFC, Arena.Data + 0x6000, 6)]
    public void Stores_fault_with_address_and_error_code(ulong address, ulong faultAddress, ulong errorCode)
    {
        // mov [rdi], rax
        MachineImage before = MachineImage.With(0x48, 0x89, 0x07);
        before.Gpr[7] = address;
        before.Gpr[0] = ulong.MaxValue;
        _processor.Run(before, _after);

        Assert.Equal(14, _after.Vector);
        Assert.Equal(faultAddress, _after.FaultAddress);
        Assert.Equal(errorCode, _after.ErrorCode);
        Assert.Equal(before.Memory, _after.Memory);
    }

    [Fact]
    public void Data_pages_are_not_executable()
    {
        MachineImage before = MachineImage.With();
        before.Rip = Arena.Data + 0x1000;
        _processor.Run(before, _after);

        Assert.Equal(14, _after.Vector);
        Assert.Equal(0x15UL, _after.ErrorCode);
    }

    [Fact]
    public void A_non_canonical_address_is_a_general_protection_fault()
    {
        // mov rax, [rdi]
        MachineImage before = MachineImage.With(0x48, 0x8B, 0x07);
        before.Gpr[7] = 0x8000_0000_0000_0000;
        _processor.Run(before, _after);

        Assert.Equal(13, _after.Vector);
        Assert.Equal(0UL, _after.ErrorCode);
    }

    [Fact]
    public void Strings_go_down_with_the_direction_flag()
    {
        // rep stosb
        MachineImage before = MachineImage.With(0xF3, 0xAA);
        before.Gpr[0] = 0x5A;
        before.Gpr[1] = 4;
        before.Gpr[7] = Arena.Data + 0x2001;
        before.Rflags |= Direction;
        _processor.Run(before, _after);

        Assert.Equal(0UL, _after.Gpr[1]);
        Assert.Equal(Arena.Data + 0x1FFD, _after.Gpr[7]);
        Assert.Equal(0x0000_5A5A_5A5A_0000UL, _after.Read64(Arena.Data + 0x1FFC));
    }

    [Fact]
    public void The_stack_pointer_is_the_programs()
    {
        // push rax
        MachineImage before = MachineImage.With(0x50);
        before.Gpr[0] = 0x0123_4567_89AB_CDEF;
        before.Gpr[4] = Arena.High + 8;
        _processor.Run(before, _after);

        Assert.Equal(Arena.High, _after.Gpr[4]);
        Assert.Equal(0x0123_4567_89AB_CDEFUL, _after.Read64(Arena.High));
    }

    [Fact]
    public void X87_loads_onto_its_stack()
    {
        // fld1
        _processor.Run(MachineImage.With(0xD9, 0xE8), _after);

        Assert.Equal(7, BitConverter.ToUInt16(_after.Xsave, 2) >> 11 & 7);
        Assert.Equal(0x80, _after.Xsave[4]);
        Assert.Equal("0000000000000080FF3F", Convert.ToHexString(_after.Xsave, 32, 10));
    }

    [Fact]
    public void Unmasked_division_raises_a_simd_exception()
    {
        // divss xmm0, xmm1: 0 / 0 is invalid
        MachineImage before = MachineImage.With(0xF3, 0x0F, 0x5E, 0xC1);
        BitConverter.TryWriteBytes(before.Xsave.AsSpan(24), 0x1F00u);
        _processor.Run(before, _after);

        Assert.Equal(19, _after.Vector);
        Assert.Equal(0x1F01u, BitConverter.ToUInt32(_after.Xsave, 24));
    }

    [Fact]
    public void An_endless_loop_times_out_and_the_next_program_runs()
    {
        // jmp $
        _processor.Run(MachineImage.With(0xEB, 0xFE), _after);
        Assert.Equal(Outcome.TimedOut, _after.Vector);

        _processor.Run(MachineImage.With(0x90), _after);
        Assert.Equal(3, _after.Vector);
        Assert.Equal(Arena.Code + 2, _after.Rip);
    }

    [Fact]
    public void No_flag_of_a_program_reaches_the_next()
    {
        // popfq sets NT, AC and ID
        MachineImage before = MachineImage.With(0x9D);
        before.Gpr[4] = Arena.High;
        before.Write64(Arena.High, 0x24_4202);
        _processor.Run(before, _after);
        Assert.Equal(0x24_4202UL, _after.Rflags & ~0x10000UL);

        _processor.Run(MachineImage.With(0x90), _after);
        Assert.Equal(0x202UL, _after.Rflags & ~0x10000UL);
    }

    [Fact]
    public void A_program_may_rewrite_itself()
    {
        // mov byte ptr [rip+0], 0x90 makes the HLT that follows a NOP.
        MachineImage before = MachineImage.With(0xC6, 0x05, 0x00, 0x00, 0x00, 0x00, 0x90, 0xF4, 0xCC);
        _processor.Run(before, _after);

        Assert.Equal(3, _after.Vector);
        Assert.Equal(Arena.Code + 9, _after.Rip);
        Assert.Equal(0x90, _after.Memory[7]);
    }
}
