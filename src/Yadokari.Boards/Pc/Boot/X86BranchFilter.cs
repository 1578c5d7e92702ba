using System.Buffers.Binary;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// Reverses the x86 branch filter of .xz files (The .xz File Format, 5.3.2): the encoder converted the targets of CALL and JMP to absolute
/// addresses, which compress better than relative ones.
/// </summary>
internal static class X86BranchFilter
{
    /// <summary>Filters in place, from the start of a stream.</summary>
    public static void Decode(Span<byte> data)
    {
        int limit = data.Length - 4;
        int at = 0;
        int previous = -5; // Position of the last opcode, converted or not.
        uint mask = 0; // Which of the three bytes before this opcode were opcodes too, and not converted.
        while (at < limit)
        {
            int found = data[at..limit].IndexOfAny((byte)0xE8, (byte)0xE9);
            if (found < 0)
            {
                return;
            }

            at += found;
            int distance = at - previous;
            previous = at;
            mask = distance > 3 ? 0 : (mask << (distance - 1)) & 7;
            if (mask != 0)
            {
                // An opcode among the operand's bytes of an earlier one is rarely an instruction.
                byte suspect = data[at + 4 - OperandByte(mask)];
                if (mask > 4 || mask == 3 || suspect is 0 or 0xFF)
                {
                    mask = (mask << 1) | 1;
                    at++;
                    continue;
                }
            }

            if (data[at + 4] is not (0 or 0xFF))
            {
                mask = (mask << 1) | 1;
                at++;
                continue;
            }

            uint source = BinaryPrimitives.ReadUInt32LittleEndian(data[(at + 1)..]);
            uint target;
            while (true)
            {
                target = source - ((uint)at + 5);
                if (mask == 0)
                {
                    break;
                }

                int shift = OperandByte(mask) * 8;
                byte top = (byte)(target >> (24 - shift));
                if (top is not (0 or 0xFF))
                {
                    break;
                }

                source = target ^ ((1u << (32 - shift)) - 1);
            }

            target = (target & 0x1FF_FFFF) | (uint)(-(int)((target >> 24) & 1) << 24);
            BinaryPrimitives.WriteUInt32LittleEndian(data[(at + 1)..], target);
            at += 5;
            mask = 0;
            previous = at - 1;
        }
    }

    // Which byte of this operand, from its top, is the top byte of the earlier opcode's operand.
    private static int OperandByte(uint mask) => mask switch { 1 => 1, 2 => 2, _ => 3 };
}
