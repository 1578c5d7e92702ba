using Yadokari.Core.Memory;
using Yadokari.X86;
using Yadokari.X86.State;

namespace Yadokari;

/// <summary>
/// The system tables of a <see cref="FlatMachine"/>: page tables, a GDT with a code and a data segment for each privilege level, a task state
/// segment. GDT and TSS are in the last page of the address space, which only level 0 can access. Pages are allocated from guest RAM in order.
/// </summary>
internal sealed class FlatTables
{
    private const ulong Present = 1;
    private const ulong Writable = 2;
    private const ulong User = 4;
    private const ulong NoExecute = 1ul << 63;
    private const ulong Frame = 0x000F_FFFF_FFFF_F000;
    private const ulong PageSize = 4096;
    private const int TssOffset = 0x100;
    private const ushort KernelCode = 0x08;
    private const ushort KernelData = 0x10;
    private const ushort UserCode = 0x1B;
    private const ushort UserData = 0x23;
    private const ushort Task = 0x28;

    private readonly GuestMemory _memory;
    private readonly FlatMode _mode;
    private readonly bool _user;
    private readonly ulong _root;
    private ulong _next = PageSize;

    public FlatTables(GuestMemory memory, FlatMode mode, bool user)
    {
        _memory = memory;
        _mode = mode;
        _user = user;
        if (mode == FlatMode.Real16)
        {
            return;
        }

        _root = Take();
        if (!Long)
        {
            // The processor reads the four entries of PAE's first table only when CR3 is loaded, so they are set from the beginning.
            for (ulong i = 0; i < 4; i++)
            {
                Put(_root + (i * 8), Take() | Present);
            }
        }

        ulong system = Take();
        Enter(System, system | Present | Writable);
        ulong code = mode switch
        {
            FlatMode.Protected16 => 0x0000_9B00_0000_FFFF,
            FlatMode.Long64 => 0x00AF_9B00_0000_FFFF,
            _ => 0x00CF_9B00_0000_FFFF,
        };
        ulong data = mode == FlatMode.Protected16 ? 0x0000_9300_0000_FFFFul : 0x00CF_9300_0000_FFFFul;
        const ulong Level3 = 0x0000_6000_0000_0000;
        Put(system + KernelCode, code);
        Put(system + KernelData, data);
        Put(system + (UserCode & 0xF8u), code | Level3);
        Put(system + (UserData & 0xF8u), data | Level3);
        ulong tss = System + TssOffset;
        Put(system + Task, 0x0000_8B00_0000_0067 | ((tss & 0xFF_FFFF) << 16) | ((tss >> 24 & 0xFF) << 56));
        Put(system + Task + 8, Long ? tss >> 32 : 0);

        // No I/O permission map.
        Put(system + TssOffset + 0x60, 0x68ul << 48);
    }

    private bool Long => _mode is FlatMode.Long64 or FlatMode.Compatibility32;

    /// <summary>Address of the page of the GDT and the TSS.</summary>
    public ulong System => Long ? 0xFFFF_FFFF_FFFF_F000 : 0xFFFF_F000;

    /// <summary>The last address that can be mapped.</summary>
    public ulong Last => _mode switch
    {
        FlatMode.Real16 => 0x10_FFEF,
        FlatMode.Protected16 => 0xFFFF,
        FlatMode.Protected32 => System - 1,
        FlatMode.Compatibility32 => uint.MaxValue,
        _ => System - 1,
    };

    /// <summary>Maps a zeroed page, or changes the rights of a mapped one.</summary>
    /// <returns>False if guest RAM is used up.</returns>
    public bool Map(ulong page, MemoryRights rights)
    {
        ulong entry = Find(page) & Frame;
        if (entry == 0)
        {
            // A page, and at most a table at each level.
            if (_next + (4 * PageSize) > _memory.Size)
            {
                return false;
            }

            entry = Take();
        }

        Enter(page, entry | Present | (_user ? User : 0) | ((rights & MemoryRights.Write) != 0 ? Writable : 0)
            | ((rights & MemoryRights.Execute) != 0 ? 0 : NoExecute));
        return true;
    }

    /// <summary>Sets the initial registers.</summary>
    public void Initialise(X86State state, ulong xcr0)
    {
        state.Rflags = 2;
        state.Xcr0 = xcr0;
        state.Cr0 = Cr0.ET | Cr0.NE | Cr0.MP;
        state.Cr4 = Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.OSXSAVE;
        state.Dr[6] = 0xFFFF_0FF0;
        state.Dr[7] = 0x400;
        state.Idtr = new TableState(0, _mode == FlatMode.Real16 ? (ushort)0x3FF : (ushort)0);
        if (_mode == FlatMode.Real16)
        {
            for (int i = 0; i < 6; i++)
            {
                state.Segments[i] = new SegmentState(0, 0, 0xFFFF, (ushort)(i == 1 ? 0x9B : 0x93));
            }

            return;
        }

        state.Cr0 |= Cr0.PE | Cr0.PG | Cr0.WP;
        state.Cr3 = _root;
        state.Cr4 |= Cr4.PAE | (_mode == FlatMode.Long64 ? Cr4.FSGSBASE : 0);

        // SCE, LME, LMA, NXE.
        state.Efer = Long ? 0xD01u : 0x800u;
        state.Gdtr = new TableState(System, (ushort)(Task + 15));
        state.Tr = new SegmentState(Task, System + TssOffset, 0x67, 0x8B);
        ushort level = (ushort)(_user ? 0x60 : 0);
        ushort code = _mode switch { FlatMode.Protected16 => 0x009B, FlatMode.Long64 => 0xA09B, _ => 0xC09B };
        bool small = _mode == FlatMode.Protected16;
        uint limit = small ? 0xFFFF : uint.MaxValue;
        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = i == 1
                ? new SegmentState(_user ? UserCode : KernelCode, 0, limit, (ushort)(code | level))
                : new SegmentState(_user ? UserData : KernelData, 0, limit, (ushort)((small ? 0x0093 : 0xC093) | level));
        }
    }

    private ulong Find(ulong page)
    {
        ulong table = _root;
        foreach (int shift in Shifts)
        {
            ulong entry = Get(table + (Index(page, shift) * 8));
            if (shift == 12 || (entry & Present) == 0)
            {
                return shift == 12 ? entry : 0;
            }

            table = entry & Frame;
        }

        return 0;
    }

    private void Enter(ulong page, ulong entry)
    {
        ulong table = _root;
        foreach (int shift in Shifts)
        {
            ulong at = table + (Index(page, shift) * 8);
            if (shift == 12)
            {
                Put(at, entry);
                return;
            }

            ulong next = Get(at);
            if ((next & Present) == 0)
            {
                next = Take() | Present | Writable | User;
                Put(at, next);
            }

            table = next & Frame;
        }
    }

    private ReadOnlySpan<int> Shifts => Long ? [39, 30, 21, 12] : [30, 21, 12];

    private static ulong Index(ulong page, int shift) => page >> shift & 511;

    private ulong Take()
    {
        ulong page = _next;
        _next += PageSize;
        return page;
    }

    private ulong Get(ulong gpa) => _memory.TryReadUInt64(gpa, out ulong value) ? value : 0;

    private void Put(ulong gpa, ulong value) => _memory.Write(gpa, BitConverter.GetBytes(value));
}
