using Yadokari.Linux;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>
/// What a vCPU has cached of the address space of one PCID (SDM 3A 4.10.1): the TLB and the jump caches that translated code probes.
/// Each address space is a mapping of its own that starts with the same <see cref="VcpuState"/>, so that turning to another one is a
/// matter of the gs base: nothing is swept, nothing is compared in translated code. Global pages are entered in each space that meets
/// them. The vCPU's thread only.
/// </summary>
internal sealed unsafe class AddressSpace
{
    private const int TlbEntries = StateLayout.TlbCount * StateLayout.TlbEntries;
    private const int JumpEntries = StateLayout.JumpCaches * StateLayout.JumpEntries;

    private readonly EntrySet _filled = new(TlbEntries);
    private readonly EntrySet _filledGlobal = new(TlbEntries);
    private readonly EntrySet _jumps = new(JumpEntries);
    private readonly EntrySet _jumpsGlobal = new(JumpEntries);
    private readonly PageFilter _fetched = new();

    /// <param name="file">The vCPU's memory: the state that all spaces share, then the tables of each.</param>
    /// <param name="number">The space's place in the file.</param>
    public AddressSpace(MemoryFile file, int number)
    {
        var window = (byte*)MemoryFile.Reserve(StateLayout.Total);
        file.Map(0, StateLayout.Tlb, executable: false, (nint)window);
        file.Map(StateLayout.Tlb + ((long)number * StateLayout.TableBytes), StateLayout.TableBytes, executable: false, (nint)window + StateLayout.Tlb);
        Window = window;
        Number = number;
        for (int kind = 0; kind < StateLayout.TlbCount; kind++)
        {
            ClearTranslation(kind * StateLayout.TlbEntries);
        }

        for (int cache = 0; cache < StateLayout.JumpCaches; cache++)
        {
            ClearJump(cache * StateLayout.JumpEntries);
            ClearJump((cache * StateLayout.JumpEntries) + 1);
        }
    }

    /// <summary>What the gs base holds while translated code runs in this space.</summary>
    public byte* Window { get; }

    /// <summary>The PCID it belongs to.</summary>
    public int Pcid { get; set; }

    /// <summary>When it was last turned to, to find the one that is least missed.</summary>
    public long LastUse { get; set; }

    /// <summary>Changes whenever what was learnt of code's whereabouts in this space must be looked at again.</summary>
    public int FetchEpoch { get; private set; }

    /// <summary>Offset from the window of the entry that an address has in one of the TLBs.</summary>
    public static int EntryOffset(ulong linear, bool write, TlbKind kind)
        => StateLayout.Tlb + (((((int)kind * 2) + (write ? 1 : 0)) * StateLayout.TlbBytes) + ((int)((linear >> 12) & (StateLayout.TlbEntries - 1)) << 4));

    /// <summary>The entry at an offset: the negated address of a page, then the host address of that page, 0 if there is none.</summary>
    public ulong* Entry(int offset) => (ulong*)(Window + offset);

    /// <summary>The space's place among the vCPU's.</summary>
    public int Number { get; }

    /// <summary>Whether the entry at an offset leads to the page of a host address.</summary>
    public bool Reaches(int offset, byte* host) => Entry(offset)[1] == ((ulong)host & ~0xFFFul);

    /// <summary>Forgets the entry at an offset if it leads to the page of a host address.</summary>
    public void DropEntry(int offset, byte* host)
    {
        if (Reaches(offset, host))
        {
            ClearTranslation((offset - StateLayout.Tlb) >> 4);
        }
    }

    /// <summary>Enters a translation.</summary>
    public void Fill(int offset, ulong linear, byte* host, bool global)
    {
        ulong* entry = Entry(offset);
        entry[0] = 0 - (linear & ~0xFFFul);
        entry[1] = (ulong)host & ~0xFFFul;
        (global ? _filledGlobal : _filled).Add((offset - StateLayout.Tlb) >> 4);
    }

    /// <summary>Begins to learn of code's whereabouts anew; to be told once no jump is left that is not global.</summary>
    public void BeginEpoch(int epoch)
    {
        FetchEpoch = epoch;
        _fetched.Clear();
    }

    /// <summary>Notes that code was looked up in a page that is not global.</summary>
    public void NoteFetch(ulong linear) => _fetched.Add(linear);

    /// <summary>Enters where the code of a linear address is.</summary>
    public void FillJump(ulong linear, Block block, bool global)
    {
        int cache = StateLayout.JumpCacheOf(block.Mode);
        if (cache == 0)
        {
            return;
        }

        int number = ((cache - StateLayout.JumpCache) >> 4) + (int)(linear & (StateLayout.JumpEntries - 1));
        ulong* entry = Jump(number);
        if (entry[1] != 0 && entry[0] != linear)
        {
            // Two places for each address: the one used longer ago moves to the second.
            ulong* second = Jump(number ^ 1);
            second[0] = entry[0];
            second[1] = entry[1];
            (_jumps.Contains(number) ? _jumps : _jumpsGlobal).Add(number ^ 1);
        }

        entry[0] = linear;
        entry[1] = (ulong)block.AxEntry;
        (global ? _jumpsGlobal : _jumps).Add(number);
    }

    /// <summary>Forgets translations: those of global pages too, or not.</summary>
    public void FlushTranslations(bool global)
    {
        Flush(_filled);
        if (global)
        {
            Flush(_filledGlobal);
        }

        void Flush(EntrySet set)
        {
            foreach (int entry in set)
            {
                ClearTranslation(entry);
            }

            set.Clear();
        }
    }

    /// <summary>Forgets the translations of one page, global or not.</summary>
    /// <returns>Whether code may have been looked up there while it was not global.</returns>
    public bool FlushPage(ulong linear)
    {
        for (TlbKind kind = TlbKind.Supervisor; kind <= TlbKind.SupervisorAc; kind++)
        {
            for (int write = 0; write < 2; write++)
            {
                int offset = EntryOffset(linear, write != 0, kind);
                if (linear + Entry(offset)[0] < 4096)
                {
                    ClearTranslation((offset - StateLayout.Tlb) >> 4);
                }
            }
        }

        return _fetched.MayContain(linear);
    }

    /// <summary>Forgets where code is: of global pages too, or not.</summary>
    public void FlushJumps(bool global)
    {
        Flush(_jumps);
        if (global)
        {
            Flush(_jumpsGlobal);
        }

        void Flush(EntrySet set)
        {
            foreach (int entry in set)
            {
                ClearJump(entry);
            }

            set.Clear();
        }
    }

    /// <summary>Forgets the translations by which a page of RAM can be written.</summary>
    /// <param name="host">The host address of the page; null for every page.</param>
    public void DropWriteEntries(byte* host)
    {
        DropFrom(_filled);
        DropFrom(_filledGlobal);

        void DropFrom(EntrySet set)
        {
            foreach (int entry in set)
            {
                if (((entry / StateLayout.TlbEntries) & 1) == 0)
                {
                    continue;
                }

                if (host == null)
                {
                    ClearTranslation(entry);
                }
                else
                {
                    DropEntry(StateLayout.Tlb + (entry << 4), host);
                }
            }
        }
    }

    // An entry that no address can match: the negated address of a page that belongs to another entry.
    private void ClearTranslation(int number)
    {
        ulong* entry = Entry(StateLayout.Tlb + (number << 4));
        entry[0] = number % StateLayout.TlbEntries == 0 ? unchecked(0 - 4096ul) : 0;
        entry[1] = 0;
    }

    // An address that is looked for in another pair of entries, so that no target matches, canonical or not.
    private void ClearJump(int number)
    {
        ulong* entry = Jump(number);
        entry[0] = number % StateLayout.JumpEntries < 2 ? 2u : 0;
        entry[1] = 0;
    }

    private ulong* Jump(int number) => (ulong*)(Window + StateLayout.JumpCache + (number << 4));
}
