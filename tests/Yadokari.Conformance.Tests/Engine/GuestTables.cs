using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Conformance.Tests.Engine;

/// <summary>
/// The little operating system around a program under an engine: page tables that show the arena to ring 3 as the native run has it, an IDT
/// whose every handler is a HLT, and the selectors that Linux gives its programs.
/// </summary>
internal static class GuestTables
{
    /// <summary>Bytes of guest RAM that all this takes, from address 0.</summary>
    public const ulong RamLength = 2 << 20;

    /// <summary>Guest physical address of the arena's bytes.</summary>
    public const ulong Arena = 0x10_0000;

    /// <summary>Where ring 0 sees guest physical memory.</summary>
    public const ulong System = 0xFFFF_8000_0000_0000;

    private const ulong PageTables = 0x1000;
    private const ulong Gdt = 0x5_0000;
    private const ulong Idt = 0x5_1000;
    private const ulong Tss = 0x5_2000;
    private const ulong Ldt = 0x5_3000;
    private const ulong Handlers = 0x5_4000;
    private const ulong StackTop = 0x6_1000;
    private const ulong NoExecute = 1UL << 63;

    /// <summary>Writes everything but the arena's bytes.</summary>
    public static void Write(GuestMemory memory)
    {
        ulong next = PageTables + 0x1000;

        // Ring 0's view: one 2 MiB page.
        ulong directory = Descend(memory, Descend(memory, PageTables, System, 39, ref next), System, 30, ref next);
        Put(memory, directory, 0x83);
        ulong gpa = Arena;
        foreach (ArenaRange range in Tests.Arena.Ranges)
        {
            for (ulong address = range.Address; address < range.End; address += 0x1000, gpa += 0x1000)
            {
                ulong table = PageTables;
                foreach (int shift in (ReadOnlySpan<int>)[39, 30, 21])
                {
                    table = Descend(memory, table, address, shift, ref next);
                }

                ulong entry = gpa | 5 | ((range.Access & Access.Write) != 0 ? 2UL : 0) | ((range.Access & Access.Execute) != 0 ? 0 : NoExecute);
                Put(memory, table + ((address >> 12 & 511) * 8), entry);
            }
        }

        // 10 and 18: ring 0 code and data; 20, 28 and 30: ring 3 32-bit code, data and 64-bit code, as under Linux; 40: the TSS.
        Put(memory, Gdt + 0x10, 0x00AF_9B00_0000_FFFF);
        Put(memory, Gdt + 0x18, 0x00CF_9300_0000_FFFF);
        Put(memory, Gdt + 0x20, 0x00CF_FB00_0000_FFFF);
        Put(memory, Gdt + 0x28, 0x00CF_F300_0000_FFFF);
        Put(memory, Gdt + 0x30, 0x00AF_FB00_0000_FFFF);
        for (int i = 0; i < LocalSegment.Table.Count; i++)
        {
            Put(memory, Ldt + ((ulong)i * 8), LocalSegment.Table[i].Descriptor);
        }

        ulong tss = System + Tss;
        Put(memory, Gdt + 0x40, 0x0000_8B00_0000_0067 | (tss & 0xFF_FFFF) << 16 | (tss >> 24 & 0xFF) << 56);
        Put(memory, Gdt + 0x48, tss >> 32);
        Put(memory, Tss + 4, System + StackTop);
        Put(memory, Tss + 0x60, 0x68UL << 48);
        for (ulong vector = 0; vector < 256; vector++)
        {
            ulong handler = System + Handlers + (vector * 16);
            ulong access = vector is 3 or 4 ? 0xEEUL : 0x8EUL;
            Put(memory, Idt + (vector * 16), (handler & 0xFFFF) | 0x10 << 16 | access << 40 | (handler >> 16 & 0xFFFF) << 48);
            Put(memory, Idt + (vector * 16) + 8, handler >> 32);
            memory.Write(Handlers + (vector * 16), [0xF4]);
        }
    }

    /// <summary>Everything of the state that no program changes.</summary>
    public static void Initialise(X86State state, Segmentation segments)
    {
        state.Cr0 = 0x8005_0033;
        state.Cr3 = PageTables;
        state.Cr4 = 0x5_06A0;
        state.Efer = 0xD01;
        state.Xcr0 = XsaveLayout.Components;
        state.Gdtr = new TableState(System + Gdt, 0x4F);
        state.Idtr = new TableState(System + Idt, 0xFFF);
        state.Tr = new SegmentState(0x40, System + Tss, 0x67, 0x8B);
        state.Ldtr = new SegmentState(0x38, System + Ldt, (uint)(LocalSegment.Table.Count * 8) - 1, 0x82);
        if (!segments.IsFlat)
        {
            int[] loaded = [segments.Extra, segments.Code, segments.Stack, segments.Data, segments.Data, segments.Extra];
            for (int i = 0; i < loaded.Length; i++)
            {
                state.Segments[i] = LocalSegment.Loaded(loaded[i]);
            }

            return;
        }

        foreach (int i in (ReadOnlySpan<int>)[0, 2, 3])
        {
            state.Segments[i] = new SegmentState(0x2B, 0, uint.MaxValue, 0xC0F3);
        }

        state.Segments[1] = segments.Bitness == 64 ? new SegmentState(0x33, 0, uint.MaxValue, 0xA0FB) : new SegmentState(0x23, 0, uint.MaxValue, 0xC0FB);
        state.Segments[4] = default;
        state.Segments[5] = default;
    }

    /// <summary>The vector of the handler whose HLT was executed, or -1 where RIP is elsewhere.</summary>
    public static int VectorOf(ulong rip)
    {
        ulong offset = rip - (System + Handlers) - 1;
        return offset % 16 == 0 && offset < 4096 ? (int)(offset / 16) : -1;
    }

    private static ulong Descend(GuestMemory memory, ulong table, ulong address, int shift, ref ulong next)
    {
        ulong at = table + ((address >> shift & 511) * 8);
        ulong entry = Get(memory, at);
        if (entry == 0)
        {
            entry = next | 7;
            next += 0x1000;
            Put(memory, at, entry);
        }

        return entry & 0x000F_FFFF_FFFF_F000;
    }

    /// <summary>The eight bytes at a guest physical address.</summary>
    public static ulong Get(GuestMemory memory, ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[8];
        memory.Read(gpa, bytes);
        return BitConverter.ToUInt64(bytes);
    }

    private static void Put(GuestMemory memory, ulong gpa, ulong value) => memory.Write(gpa, BitConverter.GetBytes(value));
}
