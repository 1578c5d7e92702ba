using System.Runtime.InteropServices;
using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.VectorRegisters;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// Gathers and scatters: elements are accessed one by one from the lowest, and each clears its mask, so that after a fault the instruction continues with
/// the remaining elements (SDM 2C VPGATHERDD and following, 2D VPSCATTERDD).
/// </summary>
internal static unsafe class GatherScatterInstructions
{
    internal static void Add(HandlerTable table)
    {
        table.On(
            &GatherScatter,
            Mnemonic.Vpgatherdd, Mnemonic.Vpgatherdq, Mnemonic.Vpgatherqd, Mnemonic.Vpgatherqq,
            Mnemonic.Vgatherdps, Mnemonic.Vgatherdpd, Mnemonic.Vgatherqps, Mnemonic.Vgatherqpd,
            Mnemonic.Vpscatterdd, Mnemonic.Vpscatterdq, Mnemonic.Vpscatterqd, Mnemonic.Vpscatterqq,
            Mnemonic.Vscatterdps, Mnemonic.Vscatterdpd, Mnemonic.Vscatterqps, Mnemonic.Vscatterqpd);
    }

    private static Outcome GatherScatter(Vcpu cpu, in Instruction instruction)
    {
        if (!MayUseVectors(cpu, instruction))
        {
            return Outcome.Fault;
        }

        bool scatter = instruction.Op0Kind == OpKind.Memory;
        bool hasMaskRegister = instruction.OpMask != Register.None;
        Register dataRegister = instruction.GetOpRegister(scatter ? 1 : 0);
        Register indexRegister = instruction.MemoryIndex;
        Register maskRegister = hasMaskRegister ? instruction.OpMask : instruction.GetOpRegister(2);
        if (!scatter && (dataRegister.GetNumber() == indexRegister.GetNumber() || (!hasMaskRegister
            && (maskRegister.GetNumber() == dataRegister.GetNumber() || maskRegister.GetNumber() == indexRegister.GetNumber()))))
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        int dataBytes = instruction.MemorySize.GetSize();
        int indexBytes = IsQuadIndex(instruction.Mnemonic) ? 8 : 4;
        int count = Math.Min(dataRegister.GetSize() / dataBytes, indexRegister.GetSize() / indexBytes);
        Span<byte> data = stackalloc byte[64];
        Span<byte> index = stackalloc byte[64];
        Span<byte> maskVector = stackalloc byte[64];
        ReadVector(cpu, dataRegister, data);
        ReadVector(cpu, indexRegister, index);
        ulong mask = 0;
        if (hasMaskRegister)
        {
            mask = ReadMask(cpu, maskRegister);
        }
        else
        {
            ReadVector(cpu, maskRegister, maskVector);
            mask = SignMask(maskVector, dataBytes, count);
        }

        ulong start = cpu.Memory.EffectiveAddress(instruction, out int segment);
        ulong addressMask = instruction.MemoryBase.IsGPR32() || (instruction.MemoryBase == Register.None && !cpu.Code64)
            ? uint.MaxValue : ulong.MaxValue;
        bool done = true;
        bool progress = false;
        ulong cr2 = cpu.Cr2;
        for (int i = 0; i < count && done; i++)
        {
            if ((mask >> i & 1) == 0)
            {
                continue;
            }

            long distance = indexBytes == 8
                ? MemoryMarshal.Read<long>(index[(i * 8)..])
                : MemoryMarshal.Read<int>(index[(i * 4)..]);
            ulong offset = (start + ((ulong)distance * (ulong)instruction.MemoryIndexScale)) & addressMask;
            Span<byte> element = data.Slice(i * dataBytes, dataBytes);
            done = cpu.Memory.Linear(segment, offset, dataBytes, scatter, out ulong linear)
                && (scatter ? cpu.Memory.WriteLinear(linear, element) : cpu.Memory.ReadLinear(linear, element));
            if (done)
            {
                mask &= ~(1ul << i);
                progress = true;
            }
        }

        if (!done && progress && (cpu.State->SystemFlags & FlagTrap) != 0)
        {
            // The completed elements count as a step: the trap is taken instead of the fault.
            cpu.Cr2 = cr2;
            cpu.Dr[6] |= X86.DebugRegisters.BS;
            cpu.Raise(Vector.Debug);
        }

        if (!scatter)
        {
            // The bits above the elements are cleared when the instruction completes.
            if (done)
            {
                data[(count * dataBytes)..].Clear();
            }

            WriteVector(cpu, dataRegister, data);
        }

        if (hasMaskRegister)
        {
            WriteMask(cpu, maskRegister, done ? 0 : mask);
        }
        else
        {
            PutSignMask(maskVector, dataBytes, done ? 0 : mask, count, clearRest: done);
            WriteVector(cpu, maskRegister, maskVector);
        }

        return done ? Outcome.Next : Outcome.Fault;
    }

    private static bool IsQuadIndex(Mnemonic mnemonic) => mnemonic is Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq or Mnemonic.Vgatherqps
        or Mnemonic.Vgatherqpd or Mnemonic.Vpscatterqd or Mnemonic.Vpscatterqq or Mnemonic.Vscatterqps or Mnemonic.Vscatterqpd;

    /// <summary>The sign bits of a vector's elements.</summary>
    internal static ulong SignMask(ReadOnlySpan<byte> vector, int bytes, int count)
    {
        ulong mask = 0;
        for (int i = 0; i < count; i++)
        {
            mask |= (ulong)(vector[(i * bytes) + bytes - 1] >> 7) << i;
        }

        return mask;
    }

    private static void PutSignMask(Span<byte> vector, int bytes, ulong mask, int count, bool clearRest)
    {
        for (int i = 0; i < count; i++)
        {
            if ((mask >> i & 1) == 0)
            {
                vector.Slice(i * bytes, bytes).Clear();
            }
        }

        if (clearRest)
        {
            vector[(count * bytes)..].Clear();
        }
    }
}
