using System.Buffers.Binary;

namespace Yadokari.Conformance.Tests;

/// <summary>All that a user-level program in 64-bit or compatibility mode can see: registers, vector and x87 state, and the arena's bytes.</summary>
public class MachineImage
{
    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15.</summary>
    public ulong[] Gpr { get; } = new ulong[16];

    /// <summary>Its segments: where they are not those of 64-bit mode, only the low halves of the first eight registers count.</summary>
    public Segmentation Segments { get; set; } = Segmentation.Flat64;

    /// <summary>64, or 32 or 16 for a code segment of compatibility mode.</summary>
    public int Bitness => Segments.Bitness;

    /// <summary>Instruction pointer: an offset in the code segment.</summary>
    public ulong Rip { get; set; } = Arena.Code;

    /// <summary>RFLAGS. Bit 1 and IF are set whatever this says; IOPL is 0.</summary>
    public ulong Rflags { get; set; } = 0x202;

    /// <summary>An XSAVE area in the standard format with every component of <see cref="XsaveLayout.Components"/> present.</summary>
    public byte[] Xsave { get; } = new byte[XsaveLayout.Length];

    /// <summary>The bytes of <see cref="Arena.Ranges"/>, one range after the other.</summary>
    public byte[] Memory { get; } = new byte[Arena.Length];

    /// <summary>A program at <see cref="Arena.Code"/> among INT3s, with cleared registers, vector state as after FNINIT and MXCSR 1F80.</summary>
    public static MachineImage With(params ReadOnlySpan<byte> code)
    {
        MachineImage image = new();
        image.Memory.AsSpan(0, Arena.CodeLength).Fill(0xCC);
        code.CopyTo(image.Memory);
        XsaveLayout.Reset(image.Xsave);
        return image;
    }

    /// <summary>The bytes from the instruction pointer on.</summary>
    public Span<byte> Code => At(Segments.CodeBase + Rip);

    /// <summary>Linear address of what the stack pointer points to.</summary>
    public ulong StackTop => Segments.DataBase + (Gpr[4] & (ulong.MaxValue >> (64 - Segments.StackBits)));

    /// <summary>The bytes from a linear address to the end of its range.</summary>
    public Span<byte> At(ulong address) => Memory.AsSpan(Arena.Offset(address));

    /// <summary>The eight bytes at a linear address.</summary>
    public ulong Read64(ulong address) => BinaryPrimitives.ReadUInt64LittleEndian(At(address));

    /// <summary>Sets eight bytes at a linear address.</summary>
    public void Write64(ulong address, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(At(address), value);

    /// <summary>Makes this a copy of another.</summary>
    public void CopyFrom(MachineImage other)
    {
        other.Gpr.CopyTo(Gpr, 0);
        Segments = other.Segments;
        Rip = other.Rip;
        Rflags = other.Rflags;
        other.Xsave.CopyTo(Xsave, 0);
        other.Memory.CopyTo(Memory, 0);
    }
}

/// <summary>The state when a program stopped, and the exception that stopped it.</summary>
public sealed class Outcome : MachineImage
{
    /// <summary>The value of <see cref="Vector"/> of a program that did not stop in time.</summary>
    public const int TimedOut = -1;

    /// <summary>The exception's vector: 3 where it ran into an INT3, as programs that end well do.</summary>
    public int Vector { get; set; }

    /// <summary>The error code, 0 for exceptions without.</summary>
    public ulong ErrorCode { get; set; }

    /// <summary>CR2 after a page fault, otherwise 0.</summary>
    public ulong FaultAddress { get; set; }
}

/// <summary>Something that runs programs of the arena: the processor itself, or an engine under test.</summary>
public interface ISubject : IDisposable
{
    /// <summary>Runs from <paramref name="before"/> until an exception and fills <paramref name="after"/>. One thread at a time.</summary>
    void Run(MachineImage before, Outcome after);
}
