using System.Buffers.Binary;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>Sets a processor to the mode that a kernel's entry point requires: descriptor table, page tables and registers.</summary>
public static class EntryState
{
    private const ulong Cr0ProtectedMode = 0x11;
    private const ulong Cr0Paging = 1UL << 31;
    private const ulong Cr4Pae = 1UL << 5;
    private const ulong EferLongMode = 0x500;
    private const ushort Code64 = 0xA09B;
    private const ushort Code32 = 0xC09B;
    private const ushort Data = 0xC093;
    private const ushort BusyTss = 0x8B;
    private const ushort LinuxCode = 0x10;
    private const ushort MultibootCode = 0x08;

    /// <summary>64-bit mode with the first 4 GiB mapped at their own addresses, as Linux's 64-bit boot protocol requires: CS 0x10, data 0x18.</summary>
    /// <param name="memory">Receives the descriptor table and the page tables.</param>
    /// <param name="state">The state after reset; changed.</param>
    /// <param name="entry">Address of the first instruction.</param>
    public static void Long(GuestMemory memory, X86State state, ulong entry)
    {
        WriteIdentityMap(memory);
        Flat(memory, state, Code64, LinuxCode, entry);
        state.Cr3 = PcLayout.BootPageTables;
        state.Cr4 = Cr4Pae;
        state.Efer = EferLongMode;
        state.Cr0 = Cr0ProtectedMode | Cr0Paging;
    }

    /// <summary>32-bit protected mode without paging, as PVH and Linux's 32-bit boot protocol require: CS 0x10, data 0x18.</summary>
    /// <param name="memory">Receives the descriptor table.</param>
    /// <param name="state">The state after reset; changed.</param>
    /// <param name="entry">Address of the first instruction.</param>
    public static void Protected(GuestMemory memory, X86State state, uint entry) => Protected(memory, state, LinuxCode, entry);

    /// <summary>
    /// 32-bit protected mode without paging for Multiboot: CS 0x08, data 0x10. The specification does not define the selectors, but some kernels
    /// (xv6) load a descriptor table with these selectors and never reload CS, because common boot loaders use the same.
    /// </summary>
    /// <param name="memory">Receives the descriptor table.</param>
    /// <param name="state">The state after reset; changed.</param>
    /// <param name="entry">Address of the first instruction.</param>
    public static void Multiboot(GuestMemory memory, X86State state, uint entry) => Protected(memory, state, MultibootCode, entry);

    private static void Protected(GuestMemory memory, X86State state, ushort codeSelector, uint entry)
    {
        Flat(memory, state, Code32, codeSelector, entry);
        state.Cr3 = 0;
        state.Cr4 = 0;
        state.Efer = 0;
        state.Cr0 = Cr0ProtectedMode;
    }

    // The data segment's descriptor follows the code segment's.
    private static void Flat(GuestMemory memory, X86State state, ushort code, ushort codeSelector, ulong entry)
    {
        ushort dataSelector = (ushort)(codeSelector + 8);
        ulong[] table = [0, 0, 0, 0, Descriptor(0x67, BusyTss), 0];
        table[codeSelector / 8] = Descriptor(uint.MaxValue, code);
        table[dataSelector / 8] = Descriptor(uint.MaxValue, Data);
        Span<byte> bytes = stackalloc byte[table.Length * 8];
        for (int i = 0; i < table.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[(i * 8)..], table[i]);
        }

        memory.Write(PcLayout.BootGdt, bytes);
        state.Gdtr = new TableState(PcLayout.BootGdt, (ushort)(bytes.Length - 1));
        state.Idtr = new TableState(0, 0);
        state.Ldtr = new SegmentState(0, 0, 0, 0);
        state.Tr = new SegmentState(0x20, 0, 0x67, BusyTss);
        Array.Fill(state.Segments, new SegmentState(dataSelector, 0, uint.MaxValue, Data));
        state.Segments[1] = new SegmentState(codeSelector, 0, uint.MaxValue, code);
        Array.Clear(state.Gpr);
        state.Gpr[4] = PcLayout.BootStack;
        state.Rip = entry;
        state.Rflags = 2;
        state.Cr2 = 0;
    }

    // A descriptor of base 0; a limit of 4 GiB counts in pages (Intel SDM volume 3, 3.4.5).
    private static ulong Descriptor(uint limit, ushort attributes)
    {
        ulong units = (attributes & 0x8000) != 0 ? limit >> 12 : limit;
        return (units & 0xFFFF) | ((units & 0xF_0000) << 32) | ((ulong)attributes << 40);
    }

    private static void WriteIdentityMap(GuestMemory memory)
    {
        const ulong present = 3;
        const ulong large = 0x83;
        Span<byte> table = stackalloc byte[4096];
        table.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(table, (PcLayout.BootPageTables + 0x1000) | present);
        memory.Write(PcLayout.BootPageTables, table);
        for (int i = 0; i < 4; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(table[(i * 8)..], (PcLayout.BootPageTables + 0x2000 + ((ulong)i << 12)) | present);
        }

        memory.Write(PcLayout.BootPageTables + 0x1000, table);
        for (int i = 0; i < 4; i++)
        {
            for (int j = 0; j < 512; j++)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(table[(j * 8)..], ((ulong)i << 30) | ((ulong)j << 21) | large);
            }

            memory.Write(PcLayout.BootPageTables + 0x2000 + ((ulong)i << 12), table);
        }
    }
}
