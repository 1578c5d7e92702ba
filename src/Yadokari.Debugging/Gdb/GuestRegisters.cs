using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Yadokari.X86.State;

namespace Yadokari.Debugging.Gdb;

/// <summary>One vCPU's registers for the debugger.</summary>
/// <param name="State">All except CR8.</param>
/// <param name="TaskPriority">CR8.</param>
internal readonly record struct RegisterFile(X86State State, StrongBox<byte> TaskPriority)
{
    /// <summary>x87, SSE and AVX.</summary>
    public XsaveArea Extended => new(State.Xsave);
}

/// <summary>Reads a register, little endian, into a span of its size; false where this vCPU does not have it.</summary>
internal delegate bool RegisterReader(RegisterFile file, Span<byte> data);

/// <summary>Sets a register; false where this vCPU does not have it.</summary>
internal delegate bool RegisterWriter(RegisterFile file, ReadOnlySpan<byte> data);

/// <summary>A register of the target description: its GDB number is its index in <see cref="GuestRegisters.All"/>.</summary>
/// <param name="Feature">The feature of its description.</param>
/// <param name="Name">GDB's name, or QEMU's if GDB has none.</param>
/// <param name="Bits">Its size.</param>
/// <param name="Type">GDB's type.</param>
/// <param name="Read">Reads it.</param>
/// <param name="Write">Sets it.</param>
internal sealed record GuestRegister(string Feature, string Name, int Bits, string Type, RegisterReader Read, RegisterWriter Write);

/// <summary>The register table: target description, <c>g</c> packets and single accesses are all made from it.</summary>
internal static class GuestRegisters
{
    public const string Core = "org.gnu.gdb.i386.core";
    public const string SegmentBases = "org.gnu.gdb.i386.segments";
    public const string System = "org.yadokari.system";
    public const string Sse = "org.gnu.gdb.i386.sse";
    public const string Avx = "org.gnu.gdb.i386.avx";

    private const uint KernelGsBase = 0xC000_0102;
    private const int Fs = 4;
    private const int Gs = 5;

    /// <summary>All registers in the order of their numbers.</summary>
    public static IReadOnlyList<GuestRegister> All { get; } = [.. Table()];

    private static IEnumerable<GuestRegister> Table()
    {
        // GDB's order differs from the encoding's.
        foreach ((string name, int index) in new[] { ("rax", 0), ("rbx", 3), ("rcx", 1), ("rdx", 2), ("rsi", 6), ("rdi", 7), ("rbp", 5), ("rsp", 4) })
        {
            string type = name is "rbp" or "rsp" ? "data_ptr" : "int64";
            yield return Number(Core, name, 64, type, f => f.State.Gpr[index], (f, v) => f.State.Gpr[index] = v);
        }

        for (int i = 8; i < 16; i++)
        {
            int index = i;
            yield return Number(Core, $"r{i}", 64, "int64", f => f.State.Gpr[index], (f, v) => f.State.Gpr[index] = v);
        }

        yield return Number(Core, "rip", 64, "code_ptr", f => f.State.Rip, (f, v) => f.State.Rip = v);
        yield return Number(Core, "eflags", 32, "eflags", f => f.State.Rflags, (f, v) => f.State.Rflags = v | 2);
        foreach ((string name, int index) in new[] { ("cs", 1), ("ss", 2), ("ds", 3), ("es", 0), ("fs", Fs), ("gs", Gs) })
        {
            yield return Number(
                Core,
                name,
                32,
                "int32",
                f => f.State.Segments[index].Selector,
                (f, v) => f.State.Segments[index] = f.State.Segments[index] with { Selector = (ushort)v });
        }

        for (int i = 0; i < 8; i++)
        {
            int index = i;
            yield return new GuestRegister(
                Core, $"st{i}", 80, "i387_ext", (f, data) => f.Extended.ReadStack(index, data), (f, data) => f.Extended.WriteStack(index, data));
        }

        string[] control = ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"];
        for (int i = 0; i < control.Length; i++)
        {
            int index = i;
            yield return Number(
                Core, control[i], 32, "int", f => f.Extended.ReadX87Control(index), (f, v) => f.Extended.WriteX87Control(index, (uint)v));
        }

        for (int i = 0; i < 16; i++)
        {
            int index = i;
            yield return new GuestRegister(
                Sse, $"xmm{i}", 128, "vec128", (f, data) => f.Extended.ReadXmm(index, data), (f, data) => f.Extended.WriteXmm(index, data));
        }

        yield return Number(Sse, "mxcsr", 32, "mxcsr", f => f.Extended.Mxcsr, (f, v) => f.Extended.Mxcsr = (uint)v);
        for (int i = 0; i < 16; i++)
        {
            int index = i;
            yield return new GuestRegister(
                Avx,
                $"ymm{i}h",
                128,
                "uint128",
                (f, data) => f.Extended.ReadYmmHigh(index, data),
                (f, data) => f.Extended.WriteYmmHigh(index, data));
        }

        yield return Number(SegmentBases, "fs_base", 64, "int", f => f.State.Segments[Fs].Base, (f, v) => SetBase(f, Fs, v));
        yield return Number(SegmentBases, "gs_base", 64, "int", f => f.State.Segments[Gs].Base, (f, v) => SetBase(f, Gs, v));
        yield return Number(
            System, "k_gs_base", 64, "int64", f => f.State.Msrs.GetValueOrDefault(KernelGsBase), (f, v) => f.State.Msrs[KernelGsBase] = v);
        yield return Number(System, "cr0", 64, "cr0_flags", f => f.State.Cr0, (f, v) => f.State.Cr0 = v);
        yield return Number(System, "cr2", 64, "int64", f => f.State.Cr2, (f, v) => f.State.Cr2 = v);
        yield return Number(System, "cr3", 64, "int64", f => f.State.Cr3, (f, v) => f.State.Cr3 = v);
        yield return Number(System, "cr4", 64, "cr4_flags", f => f.State.Cr4, (f, v) => f.State.Cr4 = v);
        yield return Number(System, "cr8", 64, "int64", f => f.TaskPriority.Value, (f, v) => f.TaskPriority.Value = (byte)(v & 15));
        yield return Number(System, "efer", 64, "efer_flags", f => f.State.Efer, (f, v) => f.State.Efer = v);
    }

    private static void SetBase(RegisterFile file, int segment, ulong value) =>
        file.State.Segments[segment] = file.State.Segments[segment] with { Base = value };

    private static GuestRegister Number(
        string feature, string name, int bits, string type, Func<RegisterFile, ulong> read, Action<RegisterFile, ulong> write) =>
        new(feature, name, bits, type, (file, data) => Store(read(file), data), (file, data) => Set(file, write, data));

    private static bool Store(ulong value, Span<byte> data)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        bytes[..data.Length].CopyTo(data);
        return true;
    }

    private static bool Set(RegisterFile file, Action<RegisterFile, ulong> write, ReadOnlySpan<byte> data)
    {
        Span<byte> bytes = stackalloc byte[8];
        data.CopyTo(bytes);
        write(file, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        return true;
    }
}
