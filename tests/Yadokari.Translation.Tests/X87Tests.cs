using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Translation.Code;
using Yadokari.X86;
using Yadokari.X86.Engines;
using Yadokari.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>The x87's pointers, pending exceptions, and what switches x87, MMX, SSE and AVX off, in translated code.</summary>
public sealed unsafe class X87Tests
{
    private const ulong Data = EmulationMachine.Data;
    private const ulong At = 0x5000;
    private const ulong Handlers = 0x6000;

    // Of SDM 3A table 2-2 and its like for others: SDM 2A FXSAVE, XSAVE; SDM 2A 2.4.
    private static readonly (string Kind, byte[] Code)[] s_instructions =
    [
        ("x87", [0xD9, 0xEE]),
        ("x87", [0xDB, 0xE3]),
        ("x87", [0xDB, 0xE2]),
        ("x87", [0xDF, 0xE0]),
        ("x87", [0xD9, 0x3B]),
        ("x87", [0xDD, 0x03]),
        ("x87", [0xD9, 0x33]),
        ("x87", [0xDD, 0x33]),
        ("wait", [0x9B]),
        ("mmx", [0x0F, 0xFC, 0xC1]),
        ("mmx", [0x0F, 0x77]),
        ("mmx", [0x0F, 0x7F, 0x03]),
        ("sse", [0x0F, 0x58, 0xC1]),
        ("sse", [0x0F, 0xAE, 0x1B]),
        ("sse", [0x66, 0x0F, 0x6F, 0x03]),
        ("sse", [0x66, 0x0F, 0xF7, 0xC1]),
        ("fxsave", [0x0F, 0xAE, 0x03]),
        ("xsave", [0x0F, 0xAE, 0x23]),
        ("avx", [0xC5, 0xF0, 0x58, 0xC2]),
        ("avx", [0xC5, 0xF8, 0xAE, 0x1B]),
        ("none", [0xF3, 0x0F, 0xB8, 0xC1]),
        ("none", [0x0F, 0xC3, 0x03]),
        ("none", [0x0F, 0xAE, 0xF0]),
        ("none", [0x0F, 0xAE, 0xF8]),
        ("none", [0x0F, 0xAE, 0x3B]),
        ("none", [0x0F, 0x18, 0x0B]),
    ];

    [Theory]
    [InlineData(0)]
    [InlineData(Cr0.MP)]
    [InlineData(Cr0.TS)]
    [InlineData(Cr0.TS | Cr0.MP)]
    [InlineData(Cr0.EM)]
    [InlineData(Cr0.EM | Cr0.MP)]
    [InlineData(Cr0.EM | Cr0.TS)]
    [InlineData(Cr0.EM | Cr0.TS | Cr0.MP)]
    public void Control_registers_switch_instructions_off(ulong cr0)
    {
        bool avx = (HostXsave.Mask & 4) != 0;
        using EmulationMachine m = Machine();
        foreach ((string kind, byte[] code) in s_instructions)
        {
            foreach (ulong cr4 in (ReadOnlySpan<ulong>)[0, Cr4.OSFXSR, Cr4.OSXSAVE, Cr4.OSFXSR | Cr4.OSXSAVE])
            {
                foreach (ulong xcr0 in (ReadOnlySpan<ulong>)[3, 7])
                {
                    if (!avx && (kind == "avx" || xcr0 == 7))
                    {
                        continue;
                    }

                    m.Cpu.Cr0 = (m.Cpu.Cr0 & ~(Cr0.EM | Cr0.TS | Cr0.MP)) | cr0;
                    m.Cpu.Cr4 = 0x20 | cr4;
                    m.Cpu.Xcr0 = xcr0;
                    m.Cpu.ModeChanged();
                    m.Bytes(Data, 1024).Clear();
                    m[Data] = 0x1F80;
                    (m.Cpu.Rax, m.Cpu.Rdx, m.Cpu.Rbx, m.Cpu.Rdi) = (1, 0, Data, Data);
                    int vector = VectorAfter(m, [.. code, 0xF4]);
                    Assert.True(Expected(kind, cr0, cr4, xcr0) == vector, $"{kind} {Convert.ToHexString(code)} cr4 {cr4:X} xcr0 {xcr0}: {vector}");
                }
            }
        }
    }

    private static int Expected(string kind, ulong cr0, ulong cr4, ulong xcr0)
    {
        bool em = (cr0 & Cr0.EM) != 0;
        bool ts = (cr0 & Cr0.TS) != 0;
        bool off = kind switch
        {
            "mmx" => em,
            "sse" => em || (cr4 & Cr4.OSFXSR) == 0,
            "xsave" => (cr4 & Cr4.OSXSAVE) == 0,
            "avx" => (cr4 & Cr4.OSXSAVE) == 0 || xcr0 != 7,
            _ => false,
        };
        bool unavailable = kind switch
        {
            "none" => false,
            "wait" => ts && (cr0 & Cr0.MP) != 0,
            "x87" or "fxsave" => ts || em,
            _ => ts,
        };
        return off ? (int)Vector.InvalidOpcode : unavailable ? (int)Vector.DeviceNotAvailable : -1;
    }

    [Theory]
    [InlineData("0FFCC1")]
    [InlineData("0F6F01")]
    [InlineData("0F7F01")]
    [InlineData("0FF7C1")]
    [InlineData("0F77")]
    [InlineData("9B")]
    [InlineData("DD01")]
    [InlineData("D929")]
    [InlineData("D921")]
    [InlineData("0F2CC8")]
    [InlineData("0F2AC1")]
    [InlineData("0F3A0FC101")]
    public void A_pending_exception_is_taken_before_memory_is_looked_at(string code)
    {
        using EmulationMachine m = Machine();
        m.Cpu.Cr4 |= Cr4.OSFXSR;
        m.Cpu.ModeChanged();
        (m.Cpu.Rbx, m.Cpu.Rcx, m.Cpu.Rdi) = (Data, EmulationMachine.Hole, EmulationMachine.Hole);

        // FLDCW of 37B; FLDZ; FLD1; FDIV ST, ST(1).
        m[Data] = 0x37B;
        byte[] divide = [0xD9, 0x2B, 0xD9, 0xEE, 0xD9, 0xE8, 0xD8, 0xF1];
        Assert.Equal((int)Vector.X87, VectorAfter(m, [.. divide, .. Convert.FromHexString(code), 0xF4]));
        Assert.Equal(At + 8, m[m.Cpu.Rsp]);
        Assert.Equal((At + 6, (ushort)0xF1), (m.Cpu.X87.Pointers.Instruction, m.Cpu.X87.Pointers.Opcode));

        // Without a wait, FNSTENV finds the page first, and leaves nothing pending where it succeeds.
        m.Cpu.Rip = At;
        Assert.Equal((int)Vector.PageFault, VectorAfter(m, [0xD9, 0x31, 0xF4]));
        Assert.Equal(-1, VectorAfter(m, [0xD9, 0x33, 0xD9, 0xEE, 0xD9, 0x7B, 0x10, 0xDD, 0x7B, 0x12, 0xF4]));
        Assert.Equal((0xB084ul, 0x2804_037Ful), (m[Data + 4] & 0xFFFF, m[Data + 16] & 0xFFFF_FFFF));
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 0xFFF)]
    [InlineData(true, 0xFFF)]
    public void Code_finds_itself(bool steps, int offset)
    {
        using EmulationMachine m = Machine();
        ulong at = 0x7000 + (ulong)offset;
        InlineTests.Put(m, Handlers + 0x10, a => a.iretq());
        InlineTests.Put(m, at, a =>
        {
            a.fldz();
            a.fnstenv(__[rsp - 12]);
            a.pop(rsi);
            a.fld(__qword_ptr[rbx + rcx * 8 + 8]);
            a.lea(rbx, rbx + 8);
            a.cpuid();
            a.fnstenv(__[rdi]);
            a.hlt();
        });
        (m.Cpu.Rip, m.Cpu.Rsp, m.Cpu.Rbx, m.Cpu.Rcx, m.Cpu.Rdi) = (at, 0x4800, Data, 2, Data + 64);
        m.Cpu.Rflags = steps ? 0x102ul : 2;
        InlineTests.RunToHalt(m);

        // FLDZ; then FLD QWORD [RBX+RCX*8+8]: opcode DD 44.
        ulong load = at + 2 + 4 + 1;
        Assert.Equal(at & uint.MaxValue, m.Cpu.Rsi & uint.MaxValue);
        Assert.Equal(load, m[Data + 64 + 12] & uint.MaxValue);
        Assert.Equal(((uint)HostSelector(8), 0x544u), ((uint)m[Data + 64 + 16] & 0xFFFF, (uint)m[Data + 64 + 16] >> 16));
        Assert.Equal((uint)(Data + 24), (uint)m[Data + 64 + 20]);
        Assert.Equal(0xFFFF0000u | HostSelector(0x10), (uint)m[Data + 64 + 24]);
    }

    // Processors that no longer have FCS and FDS save them as 0.
    private static ushort HostSelector(ushort selector) => HostX87.HasSelectors ? selector : (ushort)0;

    [Fact]
    public void Environments_have_the_modes_formats()
    {
        // FLD DWORD [SI or ESI]; FNSTENV [BX or EBX]; HLT; in real mode with CS at 4000 and DS at 0.
        using var real = new EmulationMachine(16);
        real.Cpu.SetSegment(1, new SegmentState(0x400, 0x4000, 0xFFFF, 0x9B));
        Convert.FromHexString("D904D937F4").CopyTo(real.Bytes(At, 5));
        (real.Cpu.Rip, real.Cpu.Rsi, real.Cpu.Rbx) = (0x1000, 0x123, 0x900);
        InlineTests.RunToHalt(real);
        Assert.Equal(0x0123_0104_5000ul, real[0x906] & 0xFFFF_FFFF_FFFF);
        Assert.Equal(0ul, real[0x90C] & 0xFFFF);

        // The same with an operand-size prefix, then in 32-bit code, and there with a prefix.
        Convert.FromHexString("D90466D937F4").CopyTo(real.Bytes(0x5800, 6));
        real.Cpu.Rip = 0x1800;
        InlineTests.RunToHalt(real);
        Assert.Equal((0x0000_0104_0000_5800ul, 0x0000_0000_0000_0123ul), (real[0x90C], real[0x914]));
        using var protect = new EmulationMachine(32);
        Convert.FromHexString("D906D93366D97340F4").CopyTo(protect.Bytes(At, 9));
        (protect.Cpu.Rip, protect.Cpu.Rsi, protect.Cpu.Rbx) = (At, 0x123, 0x900);
        InlineTests.RunToHalt(protect);
        Assert.Equal(0x0106_0000_0000_5000ul | ((ulong)HostSelector(0x18) << 32), protect[0x90C]);
        Assert.Equal(0xFFFF_0000_0000_0123ul | ((ulong)HostSelector(0x10) << 32), protect[0x914]);
        Assert.Equal(0x0000_0123_0000_5000ul | ((ulong)HostSelector(0x18) << 16) | ((ulong)HostSelector(0x10) << 48), protect[0x946]);
    }

    [Fact]
    public void Fninit_forgets_and_saved_state_remembers()
    {
        using EmulationMachine m = Machine();
        m.Cpu.Rbx = Data;
        Assert.Equal(-1, VectorAfter(m, [0xDD, 0x03, 0xF4]));
        var state = new X86State();
        m.Cpu.Save(state);
        Assert.Equal((At, Data), (BitConverter.ToUInt64(state.Xsave, 8), BitConverter.ToUInt64(state.Xsave, 16)));
        Assert.Equal(-1, VectorAfter(m, [0xDB, 0xE3, 0xF4]));
        Assert.Equal(default, (m.Cpu.X87.Pointers.Instruction, m.Cpu.X87.Pointers.Operand, m.Cpu.X87.Pointers.Opcode));
        m.Cpu.Load(state);
        Assert.Equal((At, Data, (ushort)0x503), (m.Cpu.X87.Pointers.Instruction, m.Cpu.X87.Pointers.Operand, m.Cpu.X87.Pointers.Opcode));
    }

    [Fact]
    public void The_hosts_code_finds_the_x87_as_it_left_it()
    {
        using EmulationMachine m = Machine();
        using var cache = new CodeCache(4096);
        HostAssembler a = default;
        a.Cursor = cache.Next;

        // SAFETY: FNSTCW [RDI]; FNSTSW [RDI+2]; RET writes four bytes.
        a.Bytes([0xD9, 0x3F, 0xDD, 0x7F, 0x02, 0xC3]);
        uint* words = stackalloc uint[1];
        var (to, code) = ((nint)words, (nint)cache.Executable(cache.Next));
        m.OnPortWrite = _ => ((delegate* unmanaged<nint, void>)code)(to);
        m.Cpu.Rbx = Data;
        m[Data] = 0x37B;
        Assert.Equal(-1, VectorAfter(m, [0xD9, 0x2B, 0xD9, 0xEE, 0xD9, 0xE8, 0xD8, 0xF1, 0xE6, 0x80, 0xDF, 0xE0, 0xF4]));
        Assert.Equal(0x37Fu, *words);
        Assert.Equal(0xB084ul, m.Cpu.Rax & 0xFFFF);
    }

    // Each exception's handler is a HLT at its vector's place.
    private static EmulationMachine Machine()
    {
        var m = new EmulationMachine(64);
        for (int vector = 0; vector < 20; vector++)
        {
            m.SetGate(vector, Handlers + ((ulong)vector * 16));
            m.Bytes(Handlers + ((ulong)vector * 16), 1)[0] = 0xF4;
        }

        return m;
    }

    // Runs code that ends with a HLT; the vector of the exception that came before, or -1. RSP then points to its frame.
    private static int VectorAfter(EmulationMachine m, byte[] code)
    {
        Assert.True(((IX86Vcpu)m.Cpu).WriteLinear(At, code));
        (m.Cpu.Rip, m.Cpu.Rsp, m.Cpu.Rflags) = (At, 0x4800, 2);
        InlineTests.RunToHalt(m);
        return m.Cpu.Rip == At + (ulong)code.Length ? -1 : (int)((m.Cpu.Rip - 1 - Handlers) / 16);
    }
}
