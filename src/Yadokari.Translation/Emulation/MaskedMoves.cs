using System.Runtime.InteropServices;
using Iced.Intel;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>The elements of a memory operand that an instruction with a mask really touches; what is masked off never faults.</summary>
/// <param name="Bytes">Bytes of an element.</param>
/// <param name="Mask">A bit for each element from the lowest address on.</param>
internal readonly record struct MaskedOperand(int Bytes, ulong Mask);

/// <summary>Instructions with masks and memory: MASKMOVQ and MASKMOVDQU whole, for the others which bytes count.</summary>
internal static unsafe partial class Emulator
{
    private static void AddMaskedMoves(Table table)
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
        if (operand.Mask == 0)
        {
            return Outcome.Next;
        }

        return cpu.Linear(instruction.MemorySegment - Register.ES, cpu.Rdi & addressMask, length, write: true, out ulong linear)
            && WriteMasked(cpu, linear, data[..length], operand)
            ? Outcome.Next
            : Outcome.Fault;
    }

    /// <summary>
    /// Whether an instruction has a mask over the elements of its memory operand (AVX-512 operations with a mask register, VMASKMOV,
    /// VPMASKMOV), and which elements are touched. For a caller that runs such an instruction on a buffer, because its operand reaches
    /// memory that is not to be had: fill the buffer by <see cref="ReadMasked"/>, run, store by <see cref="WriteMasked"/>.
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

        if (instruction.OpMask == Register.None || instruction.MemorySize == MemorySize.Unknown)
        {
            return false;
        }

        MakeInitial(cpu);
        MemorySize size = instruction.MemorySize;
        int element = size.GetElementSize();
        int count = size.GetElementCount();
        ulong mask = ReadMask(cpu, instruction.OpMask);
        int lanes = Lanes(instruction);
        mask &= ulong.MaxValue >> (64 - Math.Clamp(lanes, 1, 64));
        if (instruction.Mnemonic is Mnemonic.Vpcompressb or Mnemonic.Vpcompressw or Mnemonic.Vpcompressd or Mnemonic.Vpcompressq
            or Mnemonic.Vcompressps or Mnemonic.Vcompresspd or Mnemonic.Vpexpandb or Mnemonic.Vpexpandw or Mnemonic.Vpexpandd
            or Mnemonic.Vpexpandq or Mnemonic.Vexpandps or Mnemonic.Vexpandpd)
        {
            // Selected elements lie side by side in memory.
            int selected = System.Numerics.BitOperations.PopCount(mask);
            mask = selected == 0 ? 0 : ulong.MaxValue >> (64 - selected);
        }
        else if (count != lanes)
        {
            // Memory that feeds several lanes, or several of whose elements feed one, is touched whole or not at all.
            mask = mask == 0 ? 0 : ulong.MaxValue >> (64 - count);
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
            if ((operand.Mask >> i & 1) != 0 && !cpu.ReadLinear(linear + (ulong)at, data.Slice(at, operand.Bytes)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Writes the elements that a mask selects, if all of them can be written.</summary>
    internal static bool WriteMasked(Vcpu cpu, ulong linear, ReadOnlySpan<byte> data, in MaskedOperand operand)
    {
        for (int at = 0, i = 0; at + operand.Bytes <= data.Length; at += operand.Bytes, i++)
        {
            if ((operand.Mask >> i & 1) != 0 && !cpu.ProbeLinear(linear + (ulong)at, operand.Bytes, write: true))
            {
                return false;
            }
        }

        for (int at = 0, i = 0; at + operand.Bytes <= data.Length; at += operand.Bytes, i++)
        {
            if ((operand.Mask >> i & 1) != 0 && !cpu.WriteLinear(linear + (ulong)at, data.Slice(at, operand.Bytes)))
            {
                return false;
            }
        }

        return true;
    }

    // Lanes that the mask counts: those of the widest vector register at the memory operand's side of the element size.
    private static int Lanes(in Instruction instruction)
    {
        int element = instruction.MemorySize.GetElementSize();
        int count = instruction.MemorySize.GetElementCount();
        int widest = 0;
        for (int operand = 0; operand < instruction.OpCount; operand++)
        {
            if (instruction.GetOpKind(operand) == OpKind.Register && instruction.GetOpRegister(operand).IsVectorRegister())
            {
                widest = Math.Max(widest, instruction.GetOpRegister(operand).GetSize());
            }
        }

        // Conversions between element sizes, and scalars, have as many memory elements as lanes; broadcasts and partial loads have fewer.
        bool oneForOne = IsConversion(instruction.Mnemonic) || IsScalar(instruction, widest);
        return oneForOne ? count : widest / Math.Max(element, 1);
    }

    // VPMOVSX.., VPMOVZX.., VPMOV.. (narrowing stores), VCVT..: an element of memory for each lane.
    private static bool IsConversion(Mnemonic mnemonic)
        => mnemonic is Mnemonic.Vpmovsxbw or Mnemonic.Vpmovsxbd or Mnemonic.Vpmovsxbq or Mnemonic.Vpmovsxwd or Mnemonic.Vpmovsxwq
            or Mnemonic.Vpmovsxdq or Mnemonic.Vpmovzxbw or Mnemonic.Vpmovzxbd or Mnemonic.Vpmovzxbq or Mnemonic.Vpmovzxwd
            or Mnemonic.Vpmovzxwq or Mnemonic.Vpmovzxdq or Mnemonic.Vpmovwb or Mnemonic.Vpmovdb or Mnemonic.Vpmovdw or Mnemonic.Vpmovqb
            or Mnemonic.Vpmovqw or Mnemonic.Vpmovqd or Mnemonic.Vpmovswb or Mnemonic.Vpmovsdb or Mnemonic.Vpmovsdw or Mnemonic.Vpmovsqb
            or Mnemonic.Vpmovsqw or Mnemonic.Vpmovsqd or Mnemonic.Vpmovuswb or Mnemonic.Vpmovusdb or Mnemonic.Vpmovusdw
            or Mnemonic.Vpmovusqb or Mnemonic.Vpmovusqw or Mnemonic.Vpmovusqd or Mnemonic.Vcvtph2ps or Mnemonic.Vcvtps2ph
            or Mnemonic.Vcvtps2pd or Mnemonic.Vcvtdq2pd or Mnemonic.Vcvtudq2pd or Mnemonic.Vcvtps2qq or Mnemonic.Vcvtps2uqq
            or Mnemonic.Vcvttps2qq or Mnemonic.Vcvttps2uqq;

    // Scalar operations have one lane, whatever the register's width.
    private static bool IsScalar(in Instruction instruction, int widest)
        => widest == 16
            && !instruction.IsBroadcast
            && !instruction.MemorySize.IsPacked()
            && instruction.Mnemonic is not (Mnemonic.Vbroadcastss or Mnemonic.Vmovddup or Mnemonic.Vpbroadcastb or Mnemonic.Vpbroadcastw
                or Mnemonic.Vpbroadcastd or Mnemonic.Vpbroadcastq);

    // Leaves the registers of the x87 where MMX names them: top of stack 0, all valid (SDM 1 9.5.1).
    private static void EnterMmx(Vcpu cpu)
    {
        Span<byte> area = AreaOf(cpu);
        int top = (area[3] >> 3) & 7;
        if (top != 0)
        {
            Span<byte> registers = area.Slice(32, 128);
            Span<byte> old = stackalloc byte[128];
            registers.CopyTo(old);
            for (int physical = 0; physical < 8; physical++)
            {
                old.Slice(((physical - top) & 7) * 16, 16).CopyTo(registers[(physical * 16)..]);
            }

            area[3] &= 0xC7;
        }

        area[4] = 0xFF;
        InUse(cpu) |= ComponentX87;
    }
}
