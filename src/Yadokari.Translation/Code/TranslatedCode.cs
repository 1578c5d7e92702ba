using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.Core.Memory;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Code;

/// <summary>
/// All translated blocks of one vCPU, indexed by guest physical address and mode, and the guest pages that they were translated from. On the
/// vCPU's thread, except <see cref="Covers"/>.
/// </summary>
internal sealed unsafe class TranslatedCode : IDisposable
{
    private readonly record struct Key(ulong Gpa, ulong LinearPage, CpuMode Mode);

    private sealed class Page
    {
        public readonly List<Block> Blocks = [];
        public readonly ulong[] Covered = new ulong[64];

        /// <summary>A translation reads its bytes: <see cref="Covered"/> does not include them yet.</summary>
        public volatile bool BeingRead;
    }

    /// <summary>Bit in a key's mode: the block runs one instruction on the bounce buffer.</summary>
    private const CpuMode Bounce = (CpuMode)0x8000;

    // Entries of a direct-mapped cache of blocks, indexed by a hash of the address.
    private const int RecentBlocks = 1 << 14;

    // Initial limit of a code cache in bytes: enough for the working set of most guests.
    private const int FirstLimit = 24 << 20;

    // Size of the filter of addresses that were translated before the last flush.
    private const int FilterBits = 1 << 20;

    private readonly GuestMemory _memory;
    private readonly Dictionary<Key, Block> _blocks = [];
    private readonly Block?[] _recent = new Block?[RecentBlocks];

    // Other vCPUs' threads read it (Covers).
    private readonly ConcurrentDictionary<ulong, Page> _pages = [];

    // A bit for each page in _pages: each TLB fill reads it.
    private readonly ulong[] _codePages;

    // Blocks by number, and so by host address, because the cache is filled in order. Objects past _count are reused after a flush, so that a
    // flush leaves little garbage.
    private readonly List<Block> _all = [];
    private int _count;

    // Numbers of the pages whose code counts its runs (ReportRuns).
    private readonly HashSet<ulong> _reporting = [];

    public TranslatedCode(GuestMemory memory, int cacheBytes, InstructionSet set, bool crowded = false)
    {
        _memory = memory;
        _codePages = new ulong[(memory.End >> 18) + 1];
        Cache = new CodeCache(cacheBytes) { Limit = Math.Min(cacheBytes, FirstLimit) };
        Stubs = new Stubs(Cache);
        Translator = new Translator(Cache, Stubs, set, crowded);
        HostFaults.Watch(Cache, Stubs);
    }

    public CodeCache Cache { get; }

    public Stubs Stubs { get; }

    public Translator Translator { get; }

    /// <summary>Called before the bytes of a page are first translated: the callee must drop the TLB entries that can write it.</summary>
    public Action<ulong>? PageBecomesCode { get; set; }

    /// <summary>Called when no block depends on a page any more.</summary>
    public Action<ulong>? PageIsNoCode { get; set; }

    /// <summary>Called with a page whose bytes were written: anything derived from its code is invalid. All ones for all pages.</summary>
    public Action<ulong>? CodeForgotten { get; set; }

    /// <summary>Called after a flush of the whole code cache: pointers to host code are invalid.</summary>
    public Action? Cleared { get; set; }

    public long BlocksTranslated { get; private set; }

    public long LinksMade { get; private set; }

    public long Invalidations { get; private set; }

    public long CacheFlushes { get; private set; }

    // Blocks translated since the last flush, and how many of them were also translated before it.
    private int _translated;
    private int _again;
    private readonly ulong[] _before = new ulong[FilterBits / 64];

    /// <summary>Whether a write to this page may hit translated bytes.</summary>
    public bool IsCode(ulong gpa) => (_codePages[gpa >> 18] & (1ul << (int)(gpa >> 12 & 63))) != 0;

    /// <summary>Whether a block, or a translation in progress, depends on these bytes of one page. Any thread, after a write and a barrier.</summary>
    public bool Covers(ulong gpa, int length) => _pages.TryGetValue(gpa >> 12, out Page? page) && (page.BeingRead || IsCovered(page, gpa, length));

    private static bool IsCovered(Page page, ulong gpa, int length)
    {
        int first = (int)(gpa & 4095);
        int last = Math.Min(first + length, 4096);
        for (int i = first; i < last; i++)
        {
            if ((Volatile.Read(ref page.Covered[i >> 6]) & (1ul << (i & 63))) != 0)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Marks every byte of a page as depended on, so that <see cref="CodeForgotten"/> is called when one is written.</summary>
    public void Watch(ulong gpa) => PageAt(gpa).Covered.AsSpan().Fill(ulong.MaxValue);

    /// <summary>The block with a number from a <see cref="Site"/>, or null.</summary>
    public Block? ByNumber(int number) => number < _count ? _all[number] : null;

    /// <summary>The block whose host code contains an executable address, or null.</summary>
    public Block? ByHostAddress(byte* address)
    {
        int low = 0;
        int high = _count - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            Block block = _all[middle];
            if (address < block.AxEntry)
            {
                high = middle - 1;
            }
            else if (address >= block.End)
            {
                low = middle + 1;
            }
            else
            {
                return block;
            }
        }

        return null;
    }

    /// <summary>The offset in its page of the guest instruction that a host address belongs to, and whether AX held the guest's flags there.</summary>
    public int GuestOffset(Block block, byte* address, out bool axSaved)
    {
        long offset = address - block.AxEntry;
        int found = block.Table[0];
        for (int i = 0; i < block.Instructions && block.Table[(2 * i) + 1] <= offset; i++)
        {
            found = block.Table[2 * i];
        }

        axSaved = (found & Block.AxSaved) != 0;
        return found & ~Block.AxSaved;
    }

    /// <summary>Finds a block, or null. Supervisor blocks are bound to a linear page; user blocks are position-independent.</summary>
    public Block? Find(ulong gpa, ulong linear, CpuMode mode)
    {
        ref Block? recent = ref Recent(gpa);
        if (recent is not { Valid: true } || recent.Gpa != gpa || recent.Mode != mode
            || ((mode & CpuMode.User) == 0 && recent.LinearPage != (linear & ~0xFFFul)))
        {
            Block? found = _blocks.GetValueOrDefault(KeyOf(gpa, linear, mode, bounce: false));
            if (found == null)
            {
                return null;
            }

            recent = found;
        }

        return recent;
    }

    /// <summary>Finds the block that runs one instruction on the bounce buffer, or null.</summary>
    public Block? FindBounce(ulong gpa, ulong linear, CpuMode mode) => _blocks.GetValueOrDefault(KeyOf(gpa, linear, mode, bounce: true));

    /// <summary>Translates at an address of RAM. <paramref name="secondGpa"/> is the page after it, if an instruction crosses; else 0.</summary>
    /// <param name="gpa">Guest physical address of the first byte.</param>
    /// <param name="secondGpa">That of the page that an instruction crosses into.</param>
    /// <param name="linear">Linear address of the first byte.</param>
    /// <param name="mode">The processor's mode.</param>
    /// <param name="epoch">For an instruction that crosses pages: the fetch epoch in which the mapping of the second page is valid.</param>
    /// <param name="global">The second page is mapped as global, and <paramref name="epoch"/> is the epoch of global pages.</param>
    /// <param name="bounce">One instruction whose memory operand is the bounce buffer.</param>
    /// <returns>Null if the first instruction crosses into the next page and no second page was given.</returns>
    public Block? Translate(ulong gpa, ulong secondGpa, ulong linear, CpuMode mode, int epoch = 0, bool global = false, bool bounce = false)
    {
        if (!Cache.HasRoom(Translator.MaxHostBytes))
        {
            Clear();
        }

        // Announced before a byte is read: from now on, each writer of the page requests that its code be dropped.
        Page page;
        Page? secondPage;
        do
        {
            page = PageAt(gpa);
            secondPage = secondGpa == 0 ? null : PageAt(secondGpa);
        }
        while (PageAt(gpa) != page); // Requests served while the second page was announced may have dropped the first.

        page.BeingRead = true;
        if (secondPage != null)
        {
            secondPage.BeingRead = true;
        }

        Interlocked.MemoryBarrier();
        Block? block = TranslateAt(gpa, secondGpa, linear, mode, epoch, global, bounce);
        page.BeingRead = false;
        if (secondPage != null)
        {
            secondPage.BeingRead = false;
        }

        return block;
    }

    private Block? TranslateAt(ulong gpa, ulong secondGpa, ulong linear, CpuMode mode, int epoch, bool global, bool bounce)
    {
        int inPage = 4096 - (int)(gpa & 4095);
        byte* code = (byte*)_memory.HostAddress(gpa, (ulong)inPage);
        byte* both = stackalloc byte[32];
        int length = inPage;
        if (secondGpa != 0)
        {
            new ReadOnlySpan<byte>(code, inPage).CopyTo(new Span<byte>(both, 32));
            byte* second = (byte*)_memory.HostAddress(secondGpa, 16);
            new ReadOnlySpan<byte>(second, 16).CopyTo(new Span<byte>(both + inPage, 16));
            code = both;
            length = inPage + 16;
        }

        if (_count == _all.Count)
        {
            _all.Add(new Block(_count));
        }

        Translator.ReportsRuns = _reporting.Count != 0 && !bounce && (mode & CpuMode.User) != 0 && _reporting.Contains(gpa >> 12);
        Block? block = Translator.Translate(_all[_count], gpa, linear, mode, code, length, bounce, epoch, global, _unshared.GetValueOrDefault(gpa));
        if (block == null)
        {
            return null;
        }

        BlocksTranslated++;
        _translated++;
        _again += WasBefore(gpa) ? 1 : 0;
        block.SecondGpa = secondGpa;
        block.SecondGlobal = global;
        _count++;
        _blocks[KeyOf(gpa, linear, mode, bounce)] = block;
        if (!bounce)
        {
            Recent(gpa) = block;
        }

        Cover(block, gpa, Math.Min(block.Length, inPage));
        if (secondGpa != 0)
        {
            Cover(block, secondGpa, block.Length - inPage);
        }

        return block;
    }

    /// <summary>Links from one page to another.</summary>
    public CrossPageLinks CrossPage { get; } = new();

    /// <summary>Links a jump: patches it to go directly to its target block.</summary>
    /// <param name="site">The jump.</param>
    /// <param name="target">The target block.</param>
    /// <param name="linear">The target's linear address.</param>
    /// <param name="global">The target's page is mapped as global.</param>
    public void Link(Site* site, Block target, ulong linear, bool global)
    {
        byte* displacement = (byte*)site + site->Resume;
        byte* unlinked = (byte*)site - 5;
        (target.Incoming ??= []).Add(((nint)displacement, (nint)unlinked));
        Block from = ByNumber(site->Block)!;
        HostAssembler.Patch(displacement, Cache.Writable(site->Extra != 0 ? target.SavedEntry : from.UsesSimd ? target.LiveEntry : target.Entry));
        if (target.LinearPage != from.LinearPage && (target.Mode & CpuMode.User) == 0)
        {
            CrossPage.Add(linear & ~0xFFFul, target.Gpa & ~0xFFFul, global, (nint)displacement, (nint)unlinked);
        }

        LinksMade++;
    }

    /// <summary>
    /// Links a direct jump of position-independent code to a block of another page. The link is a short thunk that compares the fetch epoch, so
    /// that it is valid until a mapping changes, and advances the code page.
    /// </summary>
    /// <param name="site">The lookup that the jump was translated to.</param>
    /// <param name="target">The target block.</param>
    /// <param name="distance">Bytes from the jump's linear page to the target's.</param>
    /// <param name="epoch">The vCPU's fetch epoch.</param>
    public void LinkFar(Site* site, Block target, long distance, int epoch)
    {
        byte* displacement = (byte*)site + site->Resume;
        if (distance != (int)distance || !Cache.HasRoom(128))
        {
            return;
        }

        if (_farLinks.TryGetValue((nint)displacement, out FarLink known) && known.Target == target && known.Target.Valid)
        {
            *(int*)known.Epoch = epoch;
            HostAssembler.Patch(displacement, (byte*)known.Code);
            return;
        }

        byte* cold = known.Target != null ? (byte*)known.Cold : displacement + 4 + *(int*)displacement;
        // The thunk preserves the guest's flags on both of its ways out.
        bool saved = site->Extra != 0;
        Mem rax = Mem.State(StateLayout.Of(nameof(VcpuState.SaveRax)));
        Mem page = Mem.State(StateLayout.Of(nameof(VcpuState.CodePage)));
        HostAssembler a = default;
        byte* start = a.Cursor = Cache.Next;
        if (!saved)
        {
            a.Store(rax, Host.Rax);
            a.SaveFlagsInAx();
        }

        a.Arithmetic32Wide(Alu.Cmp, Mem.State(StateLayout.Of(nameof(VcpuState.FetchEpoch))), epoch);
        byte* immediate = a.Cursor - 4;
        byte* changed = a.Jump(Condition.NotEqual, cold);
        a.Load(Host.R15, page);
        a.Lea(Host.R15, Mem.At(Host.R15, (int)distance));
        a.Store(page, Host.R15);
        a.Jump(Cache.Writable(target.SavedEntry));
        if (!saved)
        {
            HostAssembler.Patch(changed, a.Cursor);
            a.RestoreFlagsFromAx();
            a.Load(Host.Rax, rax);
            a.Jump(cold);
        }

        Cache.Commit(a.Cursor);
        _farLinks[(nint)displacement] = new FarLink(target, (nint)start, (nint)immediate, (nint)cold);
        (target.Incoming ??= []).Add(((nint)displacement, (nint)cold));
        HostAssembler.Patch(displacement, start);
        LinksMade++;
    }

    /// <summary>
    /// A TLB check shared by several accesses did not cover them all. After many such failures (as with a stack frame that crosses pages), the
    /// block is dropped, and its next translation checks each access by this register.
    /// </summary>
    public void SharingFailed(Block block, int register)
    {
        if (++block.SharingFailures == 64 && block.Valid)
        {
            _unshared[block.Gpa] = _unshared.GetValueOrDefault(block.Gpa) | (1 << register);
            Drop(block);
        }
    }

    /// <summary>
    /// The page's user code can't run directly. Until <see cref="StopReporting"/>, its blocks count their runs in
    /// <see cref="VcpuState.ReportedRuns"/>, which measures the program's progress, and exit to C# where they may leave the page, if the program
    /// is to run directly.
    /// </summary>
    public void ReportRuns(ulong gpa)
    {
        if (_reporting.Add(gpa >> 12) && _pages.TryGetValue(gpa >> 12, out Page? page))
        {
            DropBlocks(page);
        }
    }

    /// <summary>Undoes <see cref="ReportRuns"/>: the page's user code may be able to run directly again.</summary>
    public void StopReporting(ulong gpa)
    {
        if (_reporting.Remove(gpa >> 12) && _pages.TryGetValue(gpa >> 12, out Page? page))
        {
            DropBlocks(page);
        }
    }

    /// <summary>Invalidates one block: its page was written, or it is to be translated in another way.</summary>
    public void Drop(Block block)
    {
        block.Valid = false;

        // Jump caches may still hold its entry: the entry jumps to the stub for invalidated blocks.
        HostAssembler a = default;
        a.Cursor = Cache.Writable(block.AxEntry);
        a.Jump(Stubs.Invalidated);
        _blocks.Remove(KeyOf(block.Gpa, block.LinearPage, block.Mode, bounce: false));
        _blocks.Remove(KeyOf(block.Gpa, block.LinearPage, block.Mode, bounce: true));
        if (block.Incoming != null)
        {
            foreach ((nint displacement, nint unlinked) in block.Incoming)
            {
                HostAssembler.Patch((byte*)displacement, (byte*)unlinked);
            }

            block.Incoming = null;
        }
    }

    private readonly Dictionary<ulong, int> _unshared = [];

    private readonly record struct FarLink(Block Target, nint Code, nint Epoch, nint Cold);

    private readonly Dictionary<nint, FarLink> _farLinks = [];

    /// <summary>
    /// Called when guest bytes change. Drops all blocks of the page if any of them depends on these bytes. Returns whether the page holds no
    /// code now.
    /// </summary>
    public bool Written(ulong gpa, int length)
    {
        if (!IsCode(gpa) || !_pages.TryGetValue(gpa >> 12, out Page? page))
        {
            return true;
        }

        if (!IsCovered(page, gpa, length))
        {
            return false;
        }

        Drop(gpa >> 12, page);
        return true;
    }

    /// <summary>
    /// Flushes the whole code cache. If most blocks had already been translated before the previous flush, the guest's working set does not fit,
    /// and the cache's limit is doubled.
    /// </summary>
    public void Clear()
    {
        CacheFlushes++;
        if (_again > _translated / 2)
        {
            Cache.Limit = (int)Math.Min(2L * Cache.Limit, Cache.Length);
        }

        _translated = _again = 0;
        Array.Clear(_before);
        foreach (Block block in CollectionsMarshal.AsSpan(_all)[.._count])
        {
            uint bit = FilterBit(block.Gpa);
            _before[bit / 64] |= 1ul << (int)(bit % 64);
            block.Valid = false;
            block.Incoming = null;
        }

        _blocks.Clear();
        Array.Clear(_recent);
        foreach (ulong page in _pages.Keys)
        {
            PageIsNoCode?.Invoke(page << 12);
        }

        _pages.Clear();
        Array.Clear(_codePages);
        _count = 0;
        CrossPage.Clear();
        _unshared.Clear();
        _reporting.Clear();
        _farLinks.Clear();
        Translator.Clear();
        Cache.Clear();
        Cleared?.Invoke();
        CodeForgotten?.Invoke(ulong.MaxValue);
    }

    public void Dispose()
    {
        HostFaults.Forget(Cache);
        Cache.Dispose();
    }

    private bool WasBefore(ulong gpa)
    {
        uint bit = FilterBit(gpa);
        return (_before[bit / 64] >> (int)(bit % 64) & 1) != 0;
    }

    private static uint FilterBit(ulong gpa) => (uint)((gpa * 0x9E37_79B9_7F4A_7C15) >> 44);

    private ref Block? Recent(ulong gpa) => ref _recent[(int)(gpa ^ (gpa >> 13)) & (RecentBlocks - 1)];

    private static Key KeyOf(ulong gpa, ulong linear, CpuMode mode, bool bounce)
        => new(gpa, (mode & CpuMode.User) != 0 ? 0 : linear & ~0xFFFul, bounce ? mode | Bounce : mode);

    private void Cover(Block block, ulong gpa, int length)
    {
        Page page = PageAt(gpa);
        page.Blocks.Add(block);
        int first = (int)(gpa & 4095);
        for (int i = first; i < first + length; i++)
        {
            Volatile.Write(ref page.Covered[i >> 6], page.Covered[i >> 6] | (1ul << (i & 63)));
        }
    }

    private Page PageAt(ulong gpa)
    {
        if (!_pages.TryGetValue(gpa >> 12, out Page? page))
        {
            page = new Page();
            _pages[gpa >> 12] = page;
            _codePages[gpa >> 18] |= 1ul << (int)(gpa >> 12 & 63);
            PageBecomesCode?.Invoke(gpa & ~0xFFFul);
        }

        return page;
    }

    private void Drop(ulong number, Page page)
    {
        Invalidations++;
        _pages.TryRemove(number, out _);
        _codePages[number >> 6] &= ~(1ul << (int)(number & 63));
        PageIsNoCode?.Invoke(number << 12);
        DropBlocks(page);
        CodeForgotten?.Invoke(number << 12);
    }

    private void DropBlocks(Page page)
    {
        foreach (Block block in page.Blocks)
        {
            if (block.Valid)
            {
                Drop(block);
            }
        }
    }
}
