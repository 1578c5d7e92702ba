using System.Buffers.Binary;
using Yadokari.Core.Buses;
using Yadokari.Core.Memory;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// Initializes a PC as its firmware would, for kernels that rely on that but are loaded without firmware: the 8259s, the timer at 18.2 Hz, the
/// BIOS data area, and, for kernels that return to real mode, an interrupt vector table whose handlers do nothing.
/// </summary>
internal static class FirmwareRemains
{
    private const byte FirstVectorPrimary = 0x08;
    private const byte FirstVectorSecondary = 0x70;

    // Timer, keyboard and cascade are unmasked; all interrupts of the secondary controller are masked.
    private const byte MaskPrimary = 0xF8;
    private const byte MaskSecondary = 0xFF;

    // Addresses in the BIOS data area at 0x400.
    private const ulong ExtendedAreaSegment = 0x40E;
    private const ulong ConventionalKibibytes = 0x413;

    // IRET; then for the primary controller and for both: PUSH AX, end of interrupt, POP AX, IRET.
    private static readonly byte[] s_return = [0xCF];
    private static readonly byte[] s_primary = [0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF];
    private static readonly byte[] s_secondary = [0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF];

    /// <summary>Initializes the devices after a reset, and writes the vector table and its handlers.</summary>
    public static void SetUp(GuestMemory memory, Bus pio)
    {
        foreach ((ushort port, byte value) in (ReadOnlySpan<(ushort, byte)>)
        [
            (PcLayout.PicPrimary, 0x11), (PcLayout.PicSecondary, 0x11),
            (PcLayout.PicPrimary + 1, FirstVectorPrimary), (PcLayout.PicSecondary + 1, FirstVectorSecondary),
            (PcLayout.PicPrimary + 1, 4), (PcLayout.PicSecondary + 1, 2),
            (PcLayout.PicPrimary + 1, 1), (PcLayout.PicSecondary + 1, 1),
            (PcLayout.PicPrimary + 1, MaskPrimary), (PcLayout.PicSecondary + 1, MaskSecondary),
            (PcLayout.Pit + 3, 0x34), (PcLayout.Pit, 0), (PcLayout.Pit, 0),
        ])
        {
            pio.Write(port, [value]);
        }

        memory.Write(PcLayout.BiosHandlers, s_return);
        memory.Write(PcLayout.BiosHandlers + 0x10, s_primary);
        memory.Write(PcLayout.BiosHandlers + 0x20, s_secondary);
        Span<byte> table = stackalloc byte[256 * 4];
        for (int vector = 0; vector < 256; vector++)
        {
            int handler = vector switch
            {
                >= FirstVectorPrimary and < FirstVectorPrimary + 8 => 0x10,
                >= FirstVectorSecondary and < FirstVectorSecondary + 8 => 0x20,
                _ => 0,
            };
            BinaryPrimitives.WriteUInt16LittleEndian(table[(vector * 4)..], (ushort)((PcLayout.BiosHandlers + (ulong)handler) & 0xFFFF));
            BinaryPrimitives.WriteUInt16LittleEndian(table[((vector * 4) + 2)..], (ushort)((PcLayout.BiosHandlers & 0xF_0000) >> 4));
        }

        memory.Write(0, table);

        // The BIOS data area: segment of the extended area, and size of conventional memory.
        Span<byte> word = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(word, (ushort)(PcLayout.ConventionalEnd >> 4));
        memory.Write(ExtendedAreaSegment, word);
        BinaryPrimitives.WriteUInt16LittleEndian(word, (ushort)(PcLayout.ConventionalEnd >> 10));
        memory.Write(ConventionalKibibytes, word);
    }
}
