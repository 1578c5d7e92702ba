using System.Globalization;
using System.Runtime.InteropServices;
using Iced.Intel;
using static Yadokari.Translation.Emulation.GatherScatterInstructions;
using static Yadokari.Translation.Emulation.VectorRegisters;
using static Yadokari.Translation.Emulation.X87State;
using static Yadokari.Translation.Emulation.XsaveInstructions;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>The elements of a memory operand that a masked instruction accesses; masked elements never fault.</summary>
/// <param name="Bytes">Bytes of an element.</param>
/// <param name="Mask">A bit for each element from the lowest address on.</param>
internal readonly record struct MaskedOperand(int Bytes, ulong Mask);

/// <summary>Masked instructions with memory operands: emulates MASKMOVQ and MASKMOVDQU, and determines the accessed bytes of the others.</summary>
internal static unsafe class MaskedMoves
{
    internal static void Add(HandlerTable table)
        => table.On(&MaskMove, Mnemonic.Maskmovq, Mnemonic.Maskmovdqu, Mnemonic.Vmaskmovdqu);

    // SDM 2B MASKMOVDQU, MASKMOVQ: bytes whose mask has its top bit set go to DS:rDI.
    private static Outcome MaskMove(Vcpu cpu, in Instruction instruction)
    {
        if (!MayUseVectors(cpu, instruction))
        {
            return Outcome.Fault;
        }

        ulong addressMask = instruction.Op0Kind switch
        {
            OpKind.MemorySegDI => 0xFFFF,
            OpKind.MemorySegEDI => uint.MaxValue,
            _ => ulong.MaxValue,
        };
        bool mmx = instruction.Mnemonic == Mnemonic.Maskmovq;
        if (mmx && !CheckPendingX87(cpu))
        {
            return Outcome.Fault;
        }

        int length = mmx ? 8 : 16;
        Span<byte> data = stackalloc byte[64];
        Span<byte> mask = stackalloc byte[64];
        if (mmx)
        {
            EnterMmx(cpu);
            ReadOnlySpan<byte> area = AreaOf(cpu);
            area.Slice(32 + (instruction.Op1Register.GetNumber() * 16), 8).CopyTo(data);
            area.Slice(32 + (instruction.Op2Register.GetNumber() * 16), 8).CopyTo(mask);
        }
        else
        {
            ReadVector(cpu, instruction.Op1Register, data);
            ReadVector(cpu, instruction.Op2Register, mask);
        }

        var operand = new MaskedOperand(1, SignMask(mask, 1, length));
        if (!cpu.Memory.Linear(cpu.Memory.SegmentOf(instruction), cpu.Rdi & addressMask, length, write: true, out ulong linear))
        {
            return Outcome.Fault;
        }

        const ulong Alignment = 8; // MASKMOVDQU's too: it is two stores.
        if (cpu.Alignment.AreOn && (linear & (Alignment - 1)) != 0)
        {
            return cpu.Raise(Vector.AlignmentCheck);
        }

        // The whole operand must be writable, even if no byte is selected: SDM 2B leaves it to the implementation, and processors check it.
        if (!cpu.Memory.ProbeLinear(linear, length, write: true) || !WriteMasked(cpu, linear, data[..length], operand))
        {
            return Outcome.Fault;
        }

        return Outcome.Next;
    }

    /// <summary>
    /// Whether an instruction has a mask over the elements of its memory operand (AVX-512 with a mask register, VMASKMOV, VPMASKMOV), and which elements it
    /// accesses. A caller that runs such an instruction on the bounce buffer fills the buffer by <see cref="ReadMasked"/>, runs the instruction, and
    /// stores the result by <see cref="WriteMasked"/>.
    /// </summary>
    internal static bool TryMask(Vcpu cpu, in Instruction instruction, out MaskedOperand operand)
    {
        operand = default;
        if (instruction.Mnemonic is Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq)
        {
            MakeInitial(cpu);
            int bytes = instruction.Mnemonic is Mnemonic.Vmaskmovps or Mnemonic.Vpmaskmovd ? 4 : 8;
            Span<byte> vector = stackalloc byte[64];
            ReadVector(cpu, instruction.Op1Register, vector);
            operand = new MaskedOperand(bytes, SignMask(vector, bytes, instruction.Op1Register.GetSize() / bytes));
            return true;
        }

        if (instruction.OpMask == Register.None || instruction.MemorySize == MemorySize.Unknown || !SuppressesFaults(instruction))
        {
            return false;
        }

        MakeInitial(cpu);
        MemorySize size = instruction.MemorySize;
        int element = ElementOf(instruction);
        int count = instruction.IsBroadcast ? 1 : size.GetSize() / element;
        int lanes = Math.Max(LanesOf(instruction, element), count);
        ulong mask = ReadMask(cpu, instruction.OpMask) & (ulong.MaxValue >> (64 - Math.Clamp(lanes, 1, 64)));
        if (instruction.Mnemonic is Mnemonic.Vpcompressb or Mnemonic.Vpcompressw or Mnemonic.Vpcompressd or Mnemonic.Vpcompressq
            or Mnemonic.Vcompressps or Mnemonic.Vcompresspd or Mnemonic.Vpexpandb or Mnemonic.Vpexpandw or Mnemonic.Vpexpandd
            or Mnemonic.Vpexpandq or Mnemonic.Vexpandps or Mnemonic.Vexpandpd)
        {
            // Compress and expand: the selected elements are contiguous in memory.
            int selected = System.Numerics.BitOperations.PopCount(mask);
            mask = selected == 0 ? 0 : ulong.MaxValue >> (64 - selected);
        }
        else
        {
            // Broadcast: an element in memory is read if any of its lanes is selected.
            ulong folded = mask;
            for (int done = count; done < lanes; done += count)
            {
                folded |= mask >> done;
            }

            mask = folded & (ulong.MaxValue >> (64 - Math.Clamp(count, 1, 64)));
        }

        operand = new MaskedOperand(element, mask);
        return true;
    }

    /// <summary>Reads the elements that a mask selects; the others are 0 in the buffer.</summary>
    internal static bool ReadMasked(Vcpu cpu, ulong linear, Span<byte> data, in MaskedOperand operand)
    {
        data.Clear();
        for (int at = 0, i = 0; at + operand.Bytes <= data.Length; at += operand.Bytes, i++)
        {
            if ((operand.Mask >> i & 1) != 0
                && (!IsWhole(cpu, linear + (ulong)at, operand.Bytes) || !cpu.Memory.ReadLinear(linear + (ulong)at, data.Slice(at, operand.Bytes))))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Checks that the elements that a mask selects can be written.</summary>
    internal static bool ProbeMasked(Vcpu cpu, ulong linear, int length, in MaskedOperand operand)
    {
        for (int at = 0, i = 0; at + operand.Bytes <= length; at += operand.Bytes, i++)
        {
            if ((operand.Mask >> i & 1) != 0
                && (!IsWhole(cpu, linear + (ulong)at, operand.Bytes) || !cpu.Memory.ProbeLinear(linear + (ulong)at, operand.Bytes, write: true)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Writes the elements that a mask selects, if all of them can be written.</summary>
    internal static bool WriteMasked(Vcpu cpu, ulong linear, ReadOnlySpan<byte> data, in MaskedOperand operand)
    {
        if (!ProbeMasked(cpu, linear, data.Length, operand))
        {
            return false;
        }

        for (int at = 0, i = 0; at + operand.Bytes <= data.Length; at += operand.Bytes, i++)
        {
            if ((operand.Mask >> i & 1) != 0 && !cpu.Memory.WriteLinear(linear + (ulong)at, data.Slice(at, operand.Bytes)))
            {
                return false;
            }
        }

        return true;
    }

    // An element that ends beyond the canonical addresses faults before its page is checked.
    private static bool IsWhole(Vcpu cpu, ulong linear, int bytes)
        => cpu.Memory.IsWithinCanonical(linear, bytes) || cpu.Raise(Vector.GeneralProtection, 0) == Outcome.Next;

    // Bytes of memory for a bit of the mask: the size of a result element if several small factors are summed.
    private static int ElementOf(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Vpmuludq or Mnemonic.Vpmuldq => 8,
        Mnemonic.Vpdpbusd or Mnemonic.Vpdpbusds or Mnemonic.Vpdpwssd or Mnemonic.Vpdpwssds or Mnemonic.Vdpbf16ps => 4,
        _ => instruction.MemorySize.GetElementSize(),
    };

    // Number of lanes that a broadcast fills; 0 for other operands, which have one element for each lane.
    private static int LanesOf(in Instruction instruction, int element)
    {
        if (instruction.IsBroadcast)
        {
            // BroadcastN_Type: N bits are filled.
            string name = instruction.MemorySize.ToString();
            int end = name.IndexOf('_');
            return int.Parse(name.AsSpan("Broadcast".Length, end - "Broadcast".Length), CultureInfo.InvariantCulture) / 8 / element;
        }

        return instruction.Mnemonic is Mnemonic.Vbroadcastss or Mnemonic.Vbroadcastsd or Mnemonic.Vpbroadcastb or Mnemonic.Vpbroadcastw
            or Mnemonic.Vpbroadcastd or Mnemonic.Vpbroadcastq or Mnemonic.Vbroadcastf32x2 or Mnemonic.Vbroadcastf32x4
            or Mnemonic.Vbroadcastf32x8 or Mnemonic.Vbroadcastf64x2 or Mnemonic.Vbroadcastf64x4 or Mnemonic.Vbroadcasti32x2
            or Mnemonic.Vbroadcasti32x4 or Mnemonic.Vbroadcasti32x8 or Mnemonic.Vbroadcasti64x2 or Mnemonic.Vbroadcasti64x4
            ? instruction.Op0Register.GetSize() / element
            : 0;
    }

    // Instructions that move elements between lanes read the whole operand: exception types E4NF, E5NF and E6NF of SDM 2A 2.8.
    private static bool SuppressesFaults(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Valignd or Mnemonic.Valignq or Mnemonic.Vpalignr or Mnemonic.Vpermb or Mnemonic.Vpermw or Mnemonic.Vpermd
            or Mnemonic.Vpermq or Mnemonic.Vpermps or Mnemonic.Vpermpd or Mnemonic.Vpermi2b or Mnemonic.Vpermi2w or Mnemonic.Vpermi2d
            or Mnemonic.Vpermi2q or Mnemonic.Vpermi2ps or Mnemonic.Vpermi2pd or Mnemonic.Vpermt2b or Mnemonic.Vpermt2w
            or Mnemonic.Vpermt2d or Mnemonic.Vpermt2q or Mnemonic.Vpermt2ps or Mnemonic.Vpermt2pd or Mnemonic.Vpermilps
            or Mnemonic.Vpermilpd or Mnemonic.Vpshufb or Mnemonic.Vpshufd or Mnemonic.Vpshufhw or Mnemonic.Vpshuflw
            or Mnemonic.Vpacksswb or Mnemonic.Vpackssdw or Mnemonic.Vpackuswb or Mnemonic.Vpackusdw or Mnemonic.Vpunpckhbw
            or Mnemonic.Vpunpckhwd or Mnemonic.Vpunpckhdq or Mnemonic.Vpunpckhqdq or Mnemonic.Vpunpcklbw or Mnemonic.Vpunpcklwd
            or Mnemonic.Vpunpckldq or Mnemonic.Vpunpcklqdq or Mnemonic.Vunpckhps or Mnemonic.Vunpckhpd or Mnemonic.Vunpcklps
            or Mnemonic.Vunpcklpd or Mnemonic.Vshufps or Mnemonic.Vshufpd or Mnemonic.Vshuff32x4 or Mnemonic.Vshuff64x2
            or Mnemonic.Vshufi32x4 or Mnemonic.Vshufi64x2 or Mnemonic.Vdbpsadbw or Mnemonic.Vmovshdup or Mnemonic.Vmovsldup
            or Mnemonic.Vmovddup or Mnemonic.Vpmultishiftqb or Mnemonic.Vgf2p8affineqb or Mnemonic.Vgf2p8affineinvqb
            or Mnemonic.Vpconflictd or Mnemonic.Vpconflictq or Mnemonic.Vcvtne2ps2bf16 or Mnemonic.Vpmaddubsw or Mnemonic.Vpmaddwd or Mnemonic.Vinsertf32x4 or Mnemonic.Vinsertf32x8 or Mnemonic.Vinsertf64x2
            or Mnemonic.Vinsertf64x4 or Mnemonic.Vinserti32x4 or Mnemonic.Vinserti32x8 or Mnemonic.Vinserti64x2
            or Mnemonic.Vinserti64x4 or Mnemonic.Vextractf32x4 or Mnemonic.Vextractf32x8 or Mnemonic.Vextractf64x2
            or Mnemonic.Vextractf64x4 or Mnemonic.Vextracti32x4 or Mnemonic.Vextracti32x8 or Mnemonic.Vextracti64x2
            or Mnemonic.Vextracti64x4 => false,
        Mnemonic.Vpsllw or Mnemonic.Vpslld or Mnemonic.Vpsllq or Mnemonic.Vpsrlw or Mnemonic.Vpsrld or Mnemonic.Vpsrlq
            or Mnemonic.Vpsraw or Mnemonic.Vpsrad or Mnemonic.Vpsraq => instruction.Op2Kind != OpKind.Memory,
        _ => true,
    };

    // Puts the x87 into the state after an MMX instruction: top of stack 0, all tags valid (SDM 1 9.5.1).
    private static void EnterMmx(Vcpu cpu)
    {
        Span<byte> area = AreaOf(cpu);
        Turn(area, -((area[3] >> 3) & 7));
        area[3] &= 0xC7;
        area[4] = 0xFF;
        InUse(cpu) |= ComponentX87;
    }
}
