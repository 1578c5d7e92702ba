using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>The tables and registers from which random guests set out.</summary>
internal static class WildTables
{
    /// <summary>Bytes from address 0 that hold the tables.</summary>
    public const int Length = 0x2_0000;

    /// <summary>Where ring 0 of long mode sees all RAM.</summary>
    public const ulong System = 0xFFFF_8000_0000_0000;

    // Guest physical. The page tables are used by the other kinds of guests too, once these have lost their way.
    private const ulong Pml4 = 0x1000;
    private const ulong Pdpt = 0x2000;
    private const ulong Directory = 0x3000;
    private const ulong Table = 0x4000;
    private const ulong HighPdpt = 0x5000;
    private const ulong HighDirectory = 0x6000;
    private const ulong Gdt = 0x8000;
    private const ulong Tss = 0x9000;
    private const ulong Handlers = 0xA000;
    private const ulong Idt64 = 0xB000;
    private const ulong Idt32 = 0xC000;
    private const ulong WildIdt = 0xD000;
    private const ulong RamLength = 2 << 20;

    /// <summary>Pages without the user bit: GDT to IDTs, and a part of the code. The page tables' accessed bits change.</summary>
    public static Range Kernel => 0xA000..0xE000;

    /// <summary>Pages of ring 3 that can't be written.</summary>
    public static Range ReadOnly => 0x18_0000..0x19_0000;

    /// <summary>Writes page tables, GDT, TSS, IDTs and, for real mode, nothing: its interrupt table is as random as the rest.</summary>
    public static void Write(Span<byte> ram, WildMode mode, Random random)
    {
        if (mode == WildMode.Real)
        {
            // Restoring needs the page tables; they lie above the interrupt table.
            ram[0x1000..Length].Clear();
        }
        else
        {
            ram[..Length].Clear();
        }

        Put(ram, Pml4, Pdpt | 7);
        Put(ram, Pdpt, Directory | 7);
        Put(ram, Directory, Table | 7);
        Put(ram, Directory + 8, 0x8000_0087); // 2 MiB that are nobody's.
        Put(ram, Directory + 16, 0xFEE0_0087); // The local APIC's.
        Put(ram, Directory + 24, 0x83); // All RAM once more, for ring 0.
        Put(ram, Pml4 + (256 * 8), HighPdpt | 3);
        Put(ram, HighPdpt, HighDirectory | 3);
        Put(ram, HighDirectory, 0x83);
        for (ulong page = 0; page < 512; page++)
        {
            int at = (int)page << 12;
            ulong rights = at < Length ? 3UL : 7;
            if (at >= Length)
            {
                rights = random.Next(12) switch
                {
                    0 => 5,
                    1 => 3,
                    2 => 6,
                    3 => 1UL << 63 | 7,
                    _ => 7,
                };
            }

            if (at >= ReadOnly.Start.Value && at < ReadOnly.End.Value)
            {
                rights = 5;
            }

            // Two of the pages show another's frame.
            Put(ram, Table + (page * 8), (page is 300 or 301 ? 0x10_0000UL : page << 12) | rights);
        }

        // 08 code64, 10 data, 18 code32, 20 data of ring 3, 28 code64 of ring 3, 30 code32 of ring 3, 38 TSS, 48 code16.
        ulong[] descriptors =
        [
            0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_9B00_0000_FFFF, 0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF,
            0x00CF_FB00_0000_FFFF, 0x0000_8B00_0000_0067 | (Tss & 0xFF_FFFF) << 16, 0, 0x0000_9B00_0000_FFFF,
        ];
        for (int i = 0; i < descriptors.Length; i++)
        {
            Put(ram, Gdt + ((ulong)i * 8), descriptors[i]);
        }

        Put(ram, Tss + 4, 0x1_F000);
        Put(ram, Tss + 0x60, 0x68UL << 48);
        for (ulong vector = 0; vector < 256; vector++)
        {
            ulong handler = Handlers + (vector * 16);
            ram[(int)handler] = 0xF4;
            Put(ram, Idt64 + (vector * 16), (handler & 0xFFFF) | 0x08 << 16 | 0xEEUL << 40 | (handler >> 16 & 0xFFFF) << 48);
            Put(ram, Idt32 + (vector * 8), (handler & 0xFFFF) | 0x18 << 16 | 0xEEUL << 40 | (handler >> 16 & 0xFFFF) << 48);
            ulong wild = (ulong)random.Next(Length, (int)RamLength);
            Put(ram, WildIdt + (vector * 16), (wild & 0xFFFF) | 0x08 << 16 | (ulong)random.Next(1, 6) << 32 | 0xEEUL << 40 | (wild >> 16 & 0xFFFF) << 48);
        }
    }

    /// <summary>A sound state of ring 0 of the kind.</summary>
    public static void Initialise(X86State state, WildMode mode)
    {
        bool real = mode == WildMode.Real;
        bool legacy = mode is WildMode.Protected or WildMode.Real;
        bool ring3 = mode is WildMode.User or WildMode.Compatibility;
        state.Cr0 = real ? 0x10u : legacy ? 0x11u : 0x8005_0033u;
        state.Cr3 = Pml4;
        state.Cr4 = 0x5_06A0;
        state.Efer = legacy ? 0xC01u & ~0x400u & ~0x100u : 0xD01;
        state.Xcr0 = 7;
        state.Rflags = 2;
        state.Gdtr = new TableState(Gdt, 0x4F);
        state.Idtr = real ? new TableState(0, 0x3FF) : legacy ? new TableState(Idt32, 0x7FF) : new TableState(Idt64, 0xFFF);
        state.Tr = new SegmentState(0x38, Tss, 0x67, 0x8B);
        state.Ldtr = default;
        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = real ? new SegmentState(0, 0, 0xFFFF, 0x93)
                : ring3 ? new SegmentState(0x23, 0, uint.MaxValue, 0xC0F3) : new SegmentState(0x10, 0, uint.MaxValue, 0xC093);
        }

        state.Segments[1] = mode switch
        {
            WildMode.Kernel => new SegmentState(0x08, 0, uint.MaxValue, 0xA09B),
            WildMode.User => new SegmentState(0x2B, 0, uint.MaxValue, 0xA0FB),
            WildMode.Compatibility => new SegmentState(0x33, 0, uint.MaxValue, 0xC0FB),
            WildMode.Protected => new SegmentState(0x18, 0, uint.MaxValue, 0xC09B),
            _ => new SegmentState(0, 0, 0xFFFF, 0x9B),
        };
        state.Msrs[0xC000_0081] = 0x0018_0008UL << 32;
        state.Msrs[0xC000_0082] = Handlers;
        state.Msrs[0xC000_0083] = Handlers;
        state.Msrs[0xC000_0084] = 0x300; // TF too: a trap right after SYSCALL would push to where ring 3 left its stack pointer.
        state.Msrs[0x174] = 0x08;
        state.Msrs[0x175] = 0x1_F000;
        state.Msrs[0x176] = Handlers;
        state.Dr.AsSpan().Clear();
        state.Dr[6] = 0xFFFF_0FF0;
        state.Dr[7] = 0x400;
    }

    /// <summary>A random state that the processor could be in.</summary>
    public static void Randomise(X86State state, WildMode mode, Random random)
    {
        Initialise(state, mode);
        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = Value(random);
        }

        // CF to OF; now and then also TF, IOPL, NT, AC and ID.
        state.Rflags = 2 | ((ulong)random.Next() & 0xED5) | (random.Next(6) == 0 ? (ulong)random.Next() & 0x24_7100 : 0);
        state.Rip = mode == WildMode.Real ? (ulong)random.Next(0x10000) : (ulong)random.Next(Length, (int)RamLength);
        if (mode == WildMode.Real)
        {
            for (int i = 0; i < 6; i++)
            {
                ushort selector = (ushort)random.Next(0x10000);
                state.Segments[i] = state.Segments[i] with { Selector = selector, Base = (ulong)selector << 4 };
            }
        }
        else if (mode is WildMode.Kernel or WildMode.User)
        {
            state.Segments[4] = state.Segments[4] with { Base = Canonical(Value(random)) };
            state.Segments[5] = state.Segments[5] with { Base = Canonical(Value(random)) };
        }

        // WP, NE, AM and, rarely, TS; then FSGSBASE, PCIDE, UMIP, PGE, TSD, DE and, rarely, since all memory is ring 3's, SMAP and SMEP.
        state.Cr0 ^= (ulong)random.Next() & 0x5_0020;
        if (random.Next(16) == 0)
        {
            state.Cr0 |= 8;
        }

        if (mode is not WildMode.Protected and not WildMode.Real)
        {
            state.Cr4 ^= (ulong)random.Next() & (random.Next(8) == 0 ? 0x33_088Cul : 0x3_088Cul);
        }

        if (mode is WildMode.Kernel or WildMode.Protected && random.Next(2) == 0)
        {
            state.Idtr = new TableState(WildIdt, (ushort)random.Next(0x1000));
        }

        // Ring 3's stack and ring 0's are as wild as everything else, but not always.
        if (random.Next(4) != 0)
        {
            state.Gpr[4] = (ulong)random.Next(Length, (int)RamLength);
        }
    }

    private static ulong Value(Random random) => random.Next(16) switch
    {
        0 => 0,
        1 => (ulong)random.NextInt64(),
        2 => (ulong)random.NextInt64() << 1 | 1,
        3 => (ulong)random.Next(Length),
        4 => System + (ulong)random.Next((int)RamLength + 0x100),
        5 => RamLength - (ulong)random.Next(80),
        6 => 0x20_0000 + (ulong)random.Next(0x40_0000),
        7 => 0x0000_8000_0000_0000 - (ulong)random.Next(80),
        8 => (ulong)random.Next(64),
        9 => 0xFFFF_FFFF_FFFF_FFFF - (ulong)random.Next(80),
        10 => (ulong)random.Next(512) << 12 | 0xFF8 + (ulong)random.Next(8),
        _ => (ulong)random.Next(Length, (int)RamLength),
    };

    private static ulong Canonical(ulong address) => (ulong)((long)(address << 16) >> 16);

    private static void Put(Span<byte> ram, ulong gpa, ulong value) => BitConverter.TryWriteBytes(ram[(int)gpa..], value);
}
