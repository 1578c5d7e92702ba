using Iced.Intel;
using Yadokari.Conformance.Tests.Samples;

namespace Yadokari.Conformance.Tests;

/// <summary>
/// The cases in which one instruction has two reasons to fault and either answer will do: the order of faults found while an instruction
/// executes is left to the processor (Intel SDM volume 3, table 7-2, its last class).
/// </summary>
internal static class Latitude
{
    /// <summary>Whether a different fault is as good as the expected one.</summary>
    public static bool Allows(Sample sample, Outcome expected, Outcome actual)
    {
        if (!IsMemoryFault(actual.Vector) || actual.Rip != expected.Rip)
        {
            return false;
        }

        if (!ProcessorDifferences.IsIntel)
        {
            return false;
        }

        // An operand that is misaligned and not accessible.
        ulong size = (ulong)Math.Max(1, sample.Instruction.MemorySize.GetSize());
        ulong alignment = size is 32 or 64 ? size : 16;
        if (expected.Vector == 13 && actual.Vector == 14)
        {
            return sample.Target % alignment != 0 && actual.FaultAddress - sample.Target < size;
        }

        // An operand that is misaligned, and on the stack at an address that is not canonical.
        if (expected.Vector == 13 && actual.Vector == 12)
        {
            return sample.Target % alignment != 0 && (long)(sample.Target << 16) >> 16 != (long)sample.Target;
        }

        // An instruction that the host does not have, whose operand the monitor brought in first: the guest's handler returns to a #UD.
        if (expected.Vector == 6)
        {
            return sample.Instruction.Encoding is not EncodingKind.Legacy;
        }

        // Source and destination both inaccessible.
        if (!IsMemoryFault(expected.Vector)
            || sample.Instruction.Mnemonic is not (Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq or Mnemonic.Cmpsb
                or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq))
        {
            return false;
        }

        int length = sample.Instruction.MemorySize.GetSize();
        ulong mask = sample.Instruction.Op0Kind switch
        {
            OpKind.MemoryESDI or OpKind.MemorySegSI => ushort.MaxValue,
            OpKind.MemoryESEDI or OpKind.MemorySegESI => uint.MaxValue,
            _ => ulong.MaxValue,
        };
        bool stores = sample.Instruction.Op0Kind is OpKind.MemoryESDI or OpKind.MemoryESEDI or OpKind.MemoryESRDI;
        return expected.Gpr.AsSpan().SequenceEqual(actual.Gpr)
            && Faults(expected.Gpr[6] & mask, length, write: false)
            && Faults(expected.Gpr[7] & mask, length, stores);
    }

    private static bool IsMemoryFault(int vector) => vector is 12 or 13 or 14;

    private static bool Faults(ulong address, int length, bool write)
    {
        for (ulong at = address; at < address + (ulong)length; at++)
        {
            ArenaRange? range = Arena.Ranges.FirstOrDefault(r => at >= r.Address && at < r.End);
            if (range is null || (write && (range.Access & Access.Write) == 0))
            {
                return true;
            }
        }

        return false;
    }
}
