using System.Buffers.Binary;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Debugging.Dump;

/// <summary>Writes a vCPU's state as text: for triple faults, traces and GDB's <c>monitor regs</c>. Allocates; not for hot paths.</summary>
public static class StateDump
{
    private const ulong LongModeActive = 1 << 10;
    private const ushort LongCode = 1 << 13;
    private const ushort DefaultBig = 1 << 14;
    private const int StackWords = 16;

    private static readonly string[] s_registers =
        ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"];

    private static readonly string[] s_segments = ["ES", "CS", "SS", "DS", "FS", "GS"];

    private static readonly (uint Index, string Name)[] s_msrs =
    [
        (0xC000_0102, "KERNEL_GS_BASE"), (0xC000_0081, "STAR"), (0xC000_0082, "LSTAR"), (0xC000_0083, "CSTAR"), (0xC000_0084, "FMASK"),
        (0x174, "SYSENTER_CS"), (0x175, "SYSENTER_ESP"), (0x176, "SYSENTER_EIP"), (0x277, "PAT"),
    ];

    /// <summary>Dumps a vCPU that is not in <see cref="IX86Vcpu.Run"/>, with code, stack and the page walk of RIP.</summary>
    public static void Write(TextWriter writer, IX86Vcpu vcpu, GuestMemory? memory)
    {
        var state = new X86State();
        vcpu.Save(state);
        writer.WriteLine($"vCPU {vcpu.Id}, {DescribeMode(state)}");
        Write(writer, state, vcpu.ReadLinear, memory);
    }

    /// <summary>Dumps a state, with code and stack if a memory reader is given, and the page walk of RIP if physical memory is given.</summary>
    public static void Write(TextWriter writer, X86State state, LinearReader? read, GuestMemory? memory)
    {
        WriteRegisters(writer, state);
        ulong code = LinearAddress(state, 1, state.Rip);
        if (read is not null)
        {
            writer.WriteLine("code:");
            CodeListing.Write(writer, read, code, state.Rip, Bitness(state));
            WriteStack(writer, state, read);
        }

        if (memory is not null)
        {
            writer.WriteLine("page walk of RIP:");
            PageWalkTrace.Write(writer, state, memory, code);
        }
    }

    /// <summary>Registers alone.</summary>
    public static void WriteRegisters(TextWriter writer, X86State state)
    {
        for (int i = 0; i < 16; i += 4)
        {
            writer.WriteLine(string.Join("  ", Enumerable.Range(i, 4).Select(r => $"{s_registers[r],-3} {state.Gpr[r]:x16}")));
        }

        writer.WriteLine($"RIP {state.Rip:x16}  RFLAGS {state.Rflags:x8} [{RegisterBits.Describe(state.Rflags, RegisterBits.Rflags)}] IOPL {state.Rflags >> 12 & 3}");
        for (int i = 0; i < 6; i++)
        {
            writer.WriteLine(Describe(s_segments[i], state.Segments[i]));
        }

        writer.WriteLine(Describe("TR", state.Tr));
        writer.WriteLine(Describe("LDT", state.Ldtr));
        writer.WriteLine($"GDT {state.Gdtr.Base:x16} limit {state.Gdtr.Limit:x4}    IDT {state.Idtr.Base:x16} limit {state.Idtr.Limit:x4}");
        writer.WriteLine($"CR0 {state.Cr0:x16} [{RegisterBits.Describe(state.Cr0, RegisterBits.Cr0)}]");
        writer.WriteLine($"CR2 {state.Cr2:x16}  CR3 {state.Cr3:x16}");
        writer.WriteLine($"CR4 {state.Cr4:x16} [{RegisterBits.Describe(state.Cr4, RegisterBits.Cr4)}]");
        writer.WriteLine($"EFER {state.Efer:x} [{RegisterBits.Describe(state.Efer, RegisterBits.Efer)}]  XCR0 {state.Xcr0:x}");
        writer.WriteLine($"DR0 {state.Dr[0]:x}  DR1 {state.Dr[1]:x}  DR2 {state.Dr[2]:x}  DR3 {state.Dr[3]:x}  DR6 {state.Dr[6]:x}  DR7 {state.Dr[7]:x}");
        foreach ((uint index, string name) in s_msrs)
        {
            if (state.Msrs.TryGetValue(index, out ulong value))
            {
                writer.WriteLine($"{name,-14} {value:x16}");
            }
        }
    }

    /// <summary>The linear address of an offset in a segment of <see cref="X86State.Segments"/>.</summary>
    internal static ulong LinearAddress(X86State state, int segment, ulong offset) => Bitness(state) switch
    {
        64 => offset,
        _ => (uint)(state.Segments[segment].Base + offset),
    };

    /// <summary>Size of code in CS: 16, 32 or 64.</summary>
    internal static int Bitness(X86State state)
    {
        ushort attributes = state.Segments[1].Attributes;
        return (state.Efer & LongModeActive) != 0 && (attributes & LongCode) != 0 ? 64
            : (state.Cr0 & 1) != 0 && (attributes & DefaultBig) != 0 ? 32
            : 16;
    }

    /// <summary>The name of the mode.</summary>
    internal static string DescribeMode(X86State state)
    {
        int ring = (state.Rflags >> 17 & 1) != 0 ? 3 : state.Segments[2].Attributes >> 5 & 3;
        string mode = (state.Cr0 & 1) == 0 ? "real mode"
            : (state.Efer & LongModeActive) != 0 ? Bitness(state) == 64 ? "64-bit mode" : $"compatibility mode, {Bitness(state)}-bit code"
            : (state.Rflags >> 17 & 1) != 0 ? "virtual-8086 mode"
            : $"protected mode, {Bitness(state)}-bit code";
        return (state.Cr0 & 1) == 0 ? mode : $"{mode}, ring {ring}";
    }

    private static string Describe(string name, SegmentState segment)
    {
        string kind = segment.Attributes == 0 ? "unusable"
            : (segment.Attributes & 0x10) == 0 ? $"system type {segment.Attributes & 15:x}"
            : (segment.Attributes & 8) != 0 ? (segment.Attributes & LongCode) != 0 ? "code 64" : (segment.Attributes & DefaultBig) != 0 ? "code 32" : "code 16"
            : (segment.Attributes & 2) != 0 ? "data rw" : "data ro";
        return $"{name,-3} {segment.Selector:x4}  base {segment.Base:x16}  limit {segment.Limit:x8}  {segment.Attributes:x4} {kind}, dpl {segment.Attributes >> 5 & 3}";
    }

    private static void WriteStack(TextWriter writer, X86State state, LinearReader read)
    {
        writer.WriteLine("stack:");
        int size = Bitness(state) / 8;
        ulong mask = size == 8 ? ulong.MaxValue : (state.Segments[2].Attributes & DefaultBig) != 0 ? uint.MaxValue : ushort.MaxValue;
        ulong pointer = LinearAddress(state, 2, state.Gpr[4] & mask);
        Span<byte> bytes = stackalloc byte[8];
        for (int i = 0; i < StackWords; i++)
        {
            ulong address = pointer + (ulong)(i * size);
            bytes.Clear();
            if (!read(address, bytes[..size]))
            {
                writer.WriteLine($"  {address:x16}  not mapped");
                return;
            }

            string word = BinaryPrimitives.ReadUInt64LittleEndian(bytes).ToString("x16")[^(size * 2)..];
            writer.Write(i % 4 == 0 ? $"  {address:x16}  {word}" : $" {word}");
            if (i % 4 == 3)
            {
                writer.WriteLine();
            }
        }
    }
}
