using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation;

/// <summary>
/// Guest memory by linear address, for emulated instructions. A member that returns false has raised an exception. On the vCPU's thread.
/// </summary>
internal sealed unsafe class LinearMemory(Vcpu cpu)
{
    /// <summary>Reads with the rights of the current privilege level.</summary>
    public bool Read<T>(ulong linear, out T value)
        where T : unmanaged
    {
        value = default;
        return ReadLinear(linear, MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    /// <summary>Writes with the rights of the current privilege level.</summary>
    public bool Write<T>(ulong linear, T value)
        where T : unmanaged => WriteLinear(linear, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Reads with supervisor rights at any privilege level (implicit accesses to descriptor tables, TSS, IDT).</summary>
    public bool ReadSystem<T>(ulong linear, out T value)
        where T : unmanaged
    {
        value = default;
        return Copy(linear, MemoryMarshal.AsBytes(new Span<T>(ref value)), write: false, TlbKind.Supervisor);
    }

    /// <summary>Writes with supervisor rights at any privilege level (implicit accesses).</summary>
    public bool WriteSystem<T>(ulong linear, T value)
        where T : unmanaged
        => Copy(linear, MemoryMarshal.AsBytes(new Span<T>(ref value)), write: true, TlbKind.Supervisor);

    /// <summary>Writes with supervisor or user rights, independent of the current level: for stacks of another level.</summary>
    public bool WriteAs<T>(ulong linear, T value, bool user)
        where T : unmanaged
        => Copy(linear, MemoryMarshal.AsBytes(new Span<T>(ref value)), write: true, user ? TlbKind.User : TlbKind.Supervisor);

    /// <summary>Reads with the rights of the current privilege level; a device is read once.</summary>
    public bool ReadLinear(ulong linear, Span<byte> data) => Copy(linear, data, write: false, cpu.Mmu.CurrentTlb);

    /// <summary>Writes with the rights of the current privilege level: all of the data, or nothing.</summary>
    public bool WriteLinear(ulong linear, ReadOnlySpan<byte> data)

        // SAFETY: Copy takes a writable span for both directions, but does not change it when it writes to memory.
        => Copy(linear, MemoryMarshal.CreateSpan(ref MemoryMarshal.GetReference(data), data.Length), write: true, cpu.Mmu.CurrentTlb);

    /// <summary>Checks that a range can be written (or read), raising the fault of such an access.</summary>
    public bool ProbeLinear(ulong linear, int length, bool write)
    {
        while (length > 0)
        {
            int piece = (int)Math.Min((ulong)length, 4096 - (linear & 4095));
            if (cpu.Mmu.Translate(linear, write, cpu.Mmu.CurrentTlb, out _, out _) == Reach.Fault)
            {
                return false;
            }

            linear += (ulong)piece;
            length -= piece;
        }

        return true;
    }

    /// <summary>Whether all bytes of an access have canonical addresses; true outside long mode.</summary>
    public bool IsWithinCanonical(ulong linear, int size) => !cpu.LongMode || (Operands.IsCanonical(linear) && Operands.IsCanonical(linear + (ulong)size - 1));

    /// <summary>
    /// Computes the linear address of an offset in a segment, after the checks of the mode: canonical in 64-bit mode; else usable, rights and limit.
    /// Raises #GP(0), or #SS(0) for the stack segment.
    /// </summary>
    /// <param name="segment">0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS.</param>
    public bool Linear(int segment, ulong offset, int length, bool write, out ulong linear)
        => Linear(cpu.Code64, segment, offset, length, write, out linear);

    /// <summary>The same, with the checks of 64-bit code or of other code.</summary>
    public bool Linear(bool code64, int segment, ulong offset, int length, bool write, out ulong linear)
    {
        if (cpu.Segments.Allows(code64, segment, offset, length, write, out linear))
        {
            return true;
        }

        cpu.Raise(segment == 2 ? Vector.StackFault : Vector.GeneralProtection, 0);
        return false;
    }

    /// <summary>The linear address of an element of an operand. An element past the last 32-bit offset is beyond the limit; it does not wrap around.</summary>
    public bool LinearOfElement(int segment, ulong offset, int index, int bytes, bool write, out ulong linear)
    {
        ulong at = offset + (ulong)(index * bytes);
        if (cpu.Code64 || at <= uint.MaxValue)
        {
            return Linear(segment, at, bytes, write, out linear);
        }

        linear = 0;
        cpu.Raise(segment == 2 ? Vector.StackFault : Vector.GeneralProtection);
        return false;
    }

    /// <summary>The offset of an instruction's explicit memory operand in its segment, and the segment's number (0 to 5).</summary>
    public ulong EffectiveAddress(in Instruction instruction, out int segment)
    {
        segment = SegmentOf(instruction);
        ulong address = instruction.MemoryDisplacement64;
        int width = instruction.MemoryBase.IsGPR64() || instruction.MemoryIndex.IsGPR64() ? 64
            : instruction.MemoryBase.IsGPR32() || instruction.MemoryIndex.IsGPR32() ? 32
            : instruction.MemoryBase.IsGPR16() || instruction.MemoryIndex.IsGPR16() ? 16
            : instruction.MemoryDisplSize switch { 8 => 64, 2 => 16, _ => cpu.Code64 ? 64 : 32 };
        if (instruction.MemoryBase is Register.RIP or Register.EIP)
        {
            // Iced's displacement is the target for the address at which the instruction was decoded, which may be another mapping of the same code:
            // only the distance is valid.
            address += cpu.Rip + (ulong)instruction.Length - instruction.NextIP;
            width = instruction.MemoryBase == Register.EIP ? 32 : 64;
        }
        else if (instruction.MemoryBase != Register.None)
        {
            address += cpu.Gpr(instruction.MemoryBase.GetNumber());
        }

        if (instruction.MemoryIndex != Register.None && !instruction.MemoryIndex.IsVectorRegister())
        {
            address += cpu.Gpr(instruction.MemoryIndex.GetNumber()) * (ulong)instruction.MemoryIndexScale;
        }

        return width switch { 64 => address, 32 => (uint)address, _ => (ushort)address };
    }

    /// <summary>
    /// The segment of an explicit memory operand, 0 to 5. In 64-bit mode only FS and GS prefixes have an effect (SDM 1 3.7.4), but with a base of
    /// RSP or RBP it is SS, whose faults are #SS.
    /// </summary>
    public int SegmentOf(in Instruction instruction)
        => !cpu.Code64 || instruction.MemorySegment is Register.FS or Register.GS ? instruction.MemorySegment - Register.ES
            : instruction.MemoryBase is Register.RSP or Register.RBP or Register.ESP or Register.EBP ? 2 : 3;

    private bool Copy(ulong linear, Span<byte> data, bool write, TlbKind kind)
    {
        int first = (int)Math.Min((ulong)data.Length, 4096 - (linear & 4095));
        Reach reach = cpu.Mmu.Translate(linear, write, kind, out byte* host, out ulong gpa);
        if (reach == Reach.Fault)
        {
            return false;
        }

        Span<byte> rest = data[first..];
        byte* restHost = null;
        ulong restGpa = 0;
        Reach restReach = Reach.Ram;
        if (!rest.IsEmpty)
        {
            // Operands cross at most one page boundary; longer ones (XSAVE areas) are accessed page by page below.
            restReach = cpu.Mmu.Translate(linear + (ulong)first, write, kind, out restHost, out restGpa);
            if (restReach == Reach.Fault)
            {
                return false;
            }
        }

        Move(data[..first], reach, host, gpa, write);
        if (rest.Length > 4096)
        {
            return Copy(linear + (ulong)first, rest, write, kind);
        }

        if (!rest.IsEmpty)
        {
            if (reach == Reach.Device)
            {
                // The translation from before the device access may be stale.
                restReach = cpu.Mmu.Translate(linear + (ulong)first, write, kind, out restHost, out restGpa);
                if (restReach == Reach.Fault)
                {
                    return false;
                }
            }

            Move(rest, restReach, restHost, restGpa, write);
        }

        return true;
    }

    private void Move(Span<byte> data, Reach reach, byte* host, ulong gpa, bool write)
    {
        switch (reach)
        {
            case Reach.Ram when write:
                // SAFETY: cpu.Mmu.Translate returned a pointer into a page of guest RAM; the piece ends within that page.
                StoreWhole(host, data);
                break;
            case Reach.Ram:
                // SAFETY: as above.
                LoadWhole(host, data);
                break;
            case Reach.CodePage:
                cpu.WriteCodePage(gpa, data);
                break;
            default:
                if (write)
                {
                    cpu.WriteDevice(gpa, data);
                }
                else
                {
                    cpu.ReadDevice(gpa, data);
                }

                break;
        }
    }

    // Aligned accesses of up to eight bytes must be atomic to other vCPUs.
    private static void StoreWhole(byte* host, ReadOnlySpan<byte> data)
    {
        // SAFETY: the pointer is into guest RAM, and the data ends within its page.
        switch (data.Length)
        {
            case 1:
                *host = data[0];
                break;
            case 2:
                Unsafe.WriteUnaligned(host, MemoryMarshal.Read<ushort>(data));
                break;
            case 4:
                Unsafe.WriteUnaligned(host, MemoryMarshal.Read<uint>(data));
                break;
            case 8:
                Unsafe.WriteUnaligned(host, MemoryMarshal.Read<ulong>(data));
                break;
            default:
                data.CopyTo(new Span<byte>(host, data.Length));
                break;
        }
    }

    private static void LoadWhole(byte* host, Span<byte> data)
    {
        // SAFETY: as in StoreWhole.
        switch (data.Length)
        {
            case 1:
                data[0] = *host;
                break;
            case 2:
                MemoryMarshal.Write(data, Unsafe.ReadUnaligned<ushort>(host));
                break;
            case 4:
                MemoryMarshal.Write(data, Unsafe.ReadUnaligned<uint>(host));
                break;
            case 8:
                MemoryMarshal.Write(data, Unsafe.ReadUnaligned<ulong>(host));
                break;
            default:
                new Span<byte>(host, data.Length).CopyTo(data);
                break;
        }
    }
}
