using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;
using Yadokari.X86.Paging;

namespace Yadokari.Translation;

/// <summary>The target of an access to a linear address.</summary>
internal enum Reach : byte
{
    /// <summary>RAM, at the returned host address.</summary>
    Ram,

    /// <summary>A write to RAM with translated code: must be made by <see cref="Vcpu.WriteCodePage"/>.</summary>
    CodePage,

    /// <summary>Not RAM: a device, or nothing.</summary>
    Device,

    /// <summary>The access raised an exception.</summary>
    Fault,
}

/// <summary>
/// A vCPU's memory management unit: translates linear addresses by the TLB, and after a miss by the guest's page tables. A flush by the guest also
/// flushes everything else derived from its page tables: cross-page links and the mappings of direct execution. On the vCPU's thread.
/// </summary>
internal sealed unsafe class Mmu
{
    private readonly Vcpu _cpu;
    private readonly GuestMemory _memory;
    private readonly Tlb _tlb;
    private readonly CrossPageLinks _crossPage;
    private readonly Func<ulong, ulong> _probeFetch;
    private PagingContext _paging;
    private PagingContext _userPaging;
    private bool _pagingStale = true;
    private bool _contextAc;

    public Mmu(Vcpu cpu, GuestMemory memory, Tlb tlb, CrossPageLinks crossPage)
    {
        _cpu = cpu;
        _memory = memory;
        _tlb = tlb;
        _crossPage = crossPage;
        _probeFetch = ProbeFetch;
    }

    /// <summary>The A20 gate: if closed, addresses wrap around at 1 MiB. <see cref="FlushAll"/> must follow a change.</summary>
    public bool A20 { get; set; } = true;

    /// <summary>Whether the page of the last <see cref="TranslateFetch"/> is global.</summary>
    public bool FetchIsGlobal { get; set; }

    /// <summary>Count of filled TLB misses.</summary>
    public long Fills => _tlb.Fills;

    /// <summary>Count of flushes of whole address spaces.</summary>
    public long Flushes => _tlb.Flushes;

    /// <summary>The rights with which the current privilege level accesses memory.</summary>
    public TlbKind CurrentTlb => _cpu.Cpl == 3 ? TlbKind.User
        : (_cpu.State->SystemFlags & (1ul << 18)) != 0 && (_cpu.Cr4 & X86.Cr4.SMAP) != 0 ? TlbKind.SupervisorAc
        : TlbKind.Supervisor;

    /// <summary>Translates through the TLB, filling it. Raises #PF, or #GP for an address that is not canonical.</summary>
    public Reach Translate(ulong linear, bool write, TlbKind kind, out byte* host, out ulong gpa)
    {
        gpa = 0;
        if (_tlb.Find(linear, write, kind, out host))
        {
            return Reach.Ram;
        }

        host = null;
        bool user = kind == TlbKind.User;
        if (_cpu.LongMode && !Operands.IsCanonical(linear))
        {
            _cpu.Raise(Vector.GeneralProtection, 0);
            return Reach.Fault;
        }

        AccessKind access = (write ? AccessKind.Write : AccessKind.Read) | (kind == TlbKind.Supervisor ? AccessKind.Implicit : 0);
        PageWalkResult walk = PageWalk.Walk(_memory, Context(user, kind == TlbKind.SupervisorAc), linear, access);
        if (!walk.Succeeded)
        {
            _cpu.Cr2 = linear;
            _cpu.Raise(Vector.PageFault, (uint)walk.Error);
            return Reach.Fault;
        }

        gpa = walk.PhysicalAddress;
        host = (byte*)_memory.HostAddress(gpa);
        if (host == null)
        {
            return Reach.Device;
        }

        bool code = _cpu.IsCode(gpa);
        if (write && (code || !_cpu.MayWrite(gpa)))
        {
            return Reach.CodePage;
        }

        _tlb.Fill(linear, write, kind, gpa, host, walk.IsGlobal);

        // If the page can be read and written without another walk, fill the entry of the other kind too, to save its miss. Never replace another
        // page's entry: an instruction with two operands whose pages share an entry would evict each by the other for ever. And while dirty
        // pages are logged, do not make a page writable that was only read.
        const PageRights Marked = PageRights.Readable | PageRights.Writable | PageRights.Dirty;
        if (_tlb.IsFree(linear, !write, kind) && !code && (walk.Rights & Marked) == Marked
            && (write || (!_memory.DirtyPages.IsNoted && _cpu.MayWrite(gpa))))
        {
            _tlb.Fill(linear, !write, kind, gpa, host, walk.IsGlobal);
        }

        return Reach.Ram;
    }

    /// <summary>Translates an address for an instruction fetch, and sets <see cref="FetchIsGlobal"/>. False after raising #PF or #GP.</summary>
    public bool TranslateFetch(ulong linear, out ulong gpa)
    {
        bool user = _cpu.Cpl == 3;
        if (_tlb.FindFetch(linear, user, out gpa, out bool global))
        {
            FetchIsGlobal = global;
            return true;
        }

        gpa = 0;
        if (_cpu.LongMode && !Operands.IsCanonical(linear))
        {
            _cpu.Raise(Vector.GeneralProtection, 0);
            return false;
        }

        PageWalkResult walk = PageWalk.Walk(_memory, Context(user, false), linear, AccessKind.Execute);
        if (!walk.Succeeded)
        {
            _cpu.Cr2 = linear;
            _cpu.Raise(Vector.PageFault, (uint)walk.Error);
            return false;
        }

        gpa = walk.PhysicalAddress;
        FetchIsGlobal = walk.IsGlobal;
        _tlb.FillFetch(linear, user, gpa, walk.IsGlobal);
        return true;
    }

    /// <summary>Guest physical address of a linear page for fetches, without side effects; all ones if it is not mapped.</summary>
    private ulong ProbeFetch(ulong linear)
    {
        PageWalkResult walk = PageWalk.Probe(_memory, Context(false, false), linear, AccessKind.Execute);
        return walk.Succeeded ? walk.PhysicalAddress : ulong.MaxValue;
    }

    /// <summary>
    /// Called after a write of CR3: selects the address space of its PCID, and flushes the non-global translations of that unless they are to be kept
    /// (SDM 3A 4.10.4.1).
    /// </summary>
    public void LoadPageTables(ulong cr3, bool keep)
    {
        _cpu.Cr3 = cr3;
        SelectSpace();
        if (!keep)
        {
            _cpu.Direct?.FlushedSpace(_tlb.Pcid);
            _tlb.FlushCurrent();
        }

        _cpu.Direct?.ProgramChanged();
        _crossPage.Check(_probeFetch, global: false);
    }

    /// <summary>INVPCID of one PCID: flushes its translations except global pages.</summary>
    public void FlushPcid(int pcid)
    {
        _cpu.Direct?.FlushedSpace(pcid);
        _tlb.FlushPcid(pcid);
        _crossPage.Check(_probeFetch, global: false);
    }

    /// <summary>INVPCID of all PCIDs: flushes all translations except global pages.</summary>
    public void FlushPcids()
    {
        _cpu.Direct?.Flushed();
        _tlb.FlushPcids();
        _crossPage.Check(_probeFetch, global: false);
    }

    /// <summary>Flushes everything, because global pages must be flushed too, or the paging mode changed.</summary>
    public void FlushAll()
    {
        _cpu.Direct?.Flushed();
        _tlb.FlushAll();
        SelectSpace();
        _cpu.Direct?.ProgramChanged();
        _crossPage.Check(_probeFetch, global: true);
    }

    /// <summary>INVLPG: flushes one page of the current PCID; a global page of all PCIDs.</summary>
    public void FlushPage(ulong linear)
    {
        _cpu.Direct?.FlushedPage(CurrentPcid, linear & ~0xFFFul);
        _tlb.FlushPage(linear);
        _crossPage.Check(_probeFetch, linear & ~0xFFFul);
    }

    /// <summary>INVPCID of one page of one PCID.</summary>
    public void FlushPage(ulong linear, int pcid)
    {
        _cpu.Direct?.FlushedPage(pcid, linear & ~0xFFFul);
        _tlb.FlushPage(linear, pcid);
        _crossPage.Check(_probeFetch, linear & ~0xFFFul);
    }

    /// <summary>The current PCID: that of CR3 with CR4.PCIDE, else 0.</summary>
    public int CurrentPcid => (_cpu.Cr4 & X86.Cr4.PCIDE) != 0 ? (int)(_cpu.Cr3 & 0xFFF) : 0;

    // Called after a change of the page tables' root or of the paging mode.
    private void SelectSpace()
    {
        _pagingStale = true;
        _tlb.Select(CurrentPcid);
    }

    /// <summary>The paging context of user code.</summary>
    public ref readonly PagingContext UserPaging => ref Context(user: true, ac: false);

    private ref readonly PagingContext Context(bool user, bool ac)
    {
        if (_pagingStale || _contextAc != ac)
        {
            _paging = new PagingContext(_cpu.Cr0, _cpu.Cr3, _cpu.Cr4, _cpu.Efer, false, ac, _cpu.PhysicalAddressBits) { WrapsAtMebibyte = !A20 };
            _userPaging = new PagingContext(_cpu.Cr0, _cpu.Cr3, _cpu.Cr4, _cpu.Efer, true, ac, _cpu.PhysicalAddressBits) { WrapsAtMebibyte = !A20 };
            _pagingStale = false;
            _contextAc = ac;
        }

        return ref user ? ref _userPaging : ref _paging;
    }
}
