using Yadokari.Linux;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>Which pages a sandbox shows, and which of them may be executed there.</summary>
internal sealed unsafe partial class DirectExecution
{
    // What lets a page be written without another look at the guest's tables.
    private const PageRights Writes = PageRights.Writable | PageRights.Dirty;

    private readonly UserCode _scan;

    private readonly Dictionary<ulong, int> _scanned = [];

    // Of a page, those after it whose answers depend on its bytes: by what came before it was known where their first instruction begins.
    private readonly Dictionary<ulong, HashSet<ulong>> _followers = [];

    private void BringUpToDate(Program program, Sandbox sandbox)
    {
        if (_joined != sandbox)
        {
            _affinity ??= new Affinity(_cpu.Vm.Vcpus > 1 ? _cpu.Id : null);
            _affinity.Join(sandbox.ProcessId);
            _joined = sandbox;
        }

        if (program.Stale || program.Pcid != _cpu.CurrentPcid)
        {
            sandbox.Review(_holds);
        }
        else
        {
            foreach (ulong linear in program.Suspects)
            {
                sandbox.Review(linear, _holds);
            }
        }

        program.Stale = false;
        program.Pcid = _cpu.CurrentPcid;
        program.LastRun = ++_runs;
        program.Suspects.Clear();
    }

    // Whether the guest's page tables still say what the sandbox shows.
    private bool Holds(ulong linear, ulong gpa, uint length, PageUse use)
    {
        PageWalkResult walk = PageWalk.Probe(_memory, _cpu.UserPaging, linear, (use & PageUse.Execute) != 0 ? AccessKind.Execute : AccessKind.Read);
        return walk.Succeeded && walk.PhysicalAddress == gpa && walk.PageSize >= length
            && (walk.Rights & (PageRights.Readable | PageRights.Accessed)) == (PageRights.Readable | PageRights.Accessed)
            && ((use & PageUse.Write) == 0 || (walk.Rights & Writes) == Writes);
    }

    /// <summary>A page fault in the process: maps what the guest's tables allow. False if the guest is to take the fault, or the translator the instruction.</summary>
    private bool Resolve(Sandbox sandbox, ulong address, ulong rip)
    {
        if (address >= 1ul << 47 || sandbox.Owns(address))
        {
            return false;
        }

        PageUse use = sandbox.UseOf(address);
        bool here = ((address ^ rip) & ~0xFFFul) == 0;
        bool next = !here && (address & 0xFFF) == 0 && ((address ^ (rip + 14)) & ~0xFFFul) == 0;
        if ((here || next) && (use & PageUse.Execute) == 0)
        {
            // The second page of an instruction may as well be data.
            return Show(sandbox, address, AccessKind.Execute) || (next && use == PageUse.None && Show(sandbox, address, AccessKind.Read));
        }

        return use == PageUse.None ? Show(sandbox, address, AccessKind.Read)
            : (use & PageUse.Write) == 0 && Show(sandbox, address, AccessKind.Write);
    }

    /// <summary>Maps a page for an access, and its neighbours for those that happened before. False if it may not be so used.</summary>
    private bool Show(Sandbox sandbox, ulong linear, AccessKind access)
    {
        _sensitive = false;
        PageWalkResult walk = PageWalk.Walk(_memory, _cpu.UserPaging, linear, access);
        if (!walk.Succeeded)
        {
            return false;
        }

        ulong page = linear & ~0xFFFul;
        ulong gpa = walk.PhysicalAddress & ~0xFFFul;
        if (access != AccessKind.Execute && walk.PageSize >= Sandbox.LargePage && ShowLarge(sandbox, page, gpa, walk.Rights, access))
        {
            return true;
        }

        if (!Show(sandbox, page, gpa, walk.Rights, access))
        {
            return false;
        }

        // The pages around: what was used before will be used again. A stop takes longer than many of them; code has to be looked through.
        ulong around = access == AccessKind.Execute ? 16ul * 4096 : 64ul * 4096;
        ulong first = page & ~(around - 1);
        for (ulong near = first; near < first + around; near += 4096)
        {
            if (near == page || sandbox.UseOf(near) != PageUse.None)
            {
                continue;
            }

            AccessKind kind = access == AccessKind.Execute ? AccessKind.Execute : AccessKind.Read;
            walk = PageWalk.Probe(_memory, _cpu.UserPaging, near, kind);
            if (walk.Succeeded && (walk.Rights & PageRights.Accessed) != 0)
            {
                _ = Show(sandbox, near, walk.PhysicalAddress, walk.Rights, kind);
            }
        }

        _sensitive = false;
        return true;
    }

    private bool Show(Sandbox sandbox, ulong page, ulong gpa, PageRights rights, AccessKind access)
    {
        if (_memory.HostAddress(gpa, 4096) == 0)
        {
            return false;
        }

        PageUse use = PageUse.Read;
        if (access == AccessKind.Execute)
        {
            if (!IsInnocuous(sandbox, page, gpa))
            {
                _sensitive = true;
                _code.ReportRuns(gpa);
                return false;
            }

            use |= PageUse.Execute;
        }

        // Where it is noted which pages are written, leave to do so is given to none that is only read.
        if ((rights & Writes) == Writes && (access == AccessKind.Write || !_memory.DirtyPages.IsNoted) && !_cpu.IsCode(gpa) && _cpu.MayWrite(gpa))
        {
            _memory.Written(gpa, 1);
            use |= PageUse.Write;
        }
        else if (access == AccessKind.Write)
        {
            return false;
        }

        use |= sandbox.UseOf(page) & PageUse.Execute;
        sandbox.Map(page, gpa, 4096, use);
        PagesMapped++;
        return true;
    }

    private bool ShowLarge(Sandbox sandbox, ulong page, ulong gpa, PageRights rights, AccessKind access)
    {
        const ulong Offset = Sandbox.LargePage - 1ul;
        page &= ~Offset;
        gpa &= ~Offset;
        bool write = (rights & Writes) == Writes;

        // Where it is noted which pages are written, one that is read and one that is written must not drive each other out.
        if (_memory.DirtyPages.IsNoted || _memory.HostAddress(gpa, Sandbox.LargePage) == 0 || (access == AccessKind.Write && !write))
        {
            return false;
        }

        // Code in it has pages of its own, which a large one would take away again and again.
        for (ulong code = page; code < page + Sandbox.LargePage; code += 4096)
        {
            if (sandbox.CodeAt(code) != ulong.MaxValue)
            {
                return false;
            }
        }

        for (ulong part = gpa; part < gpa + Sandbox.LargePage && write; part += 4096)
        {
            if (_cpu.IsCode(part) || !_cpu.MayWrite(part))
            {
                return false;
            }
        }

        sandbox.Map(page, gpa, Sandbox.LargePage, write ? PageUse.Read | PageUse.Write : PageUse.Read);
        PagesMapped++;
        return true;
    }

    // Whether a page may be executed next to those that are.
    private bool IsInnocuous(Sandbox sandbox, ulong page, ulong gpa)
    {
        return Scan(page, gpa) >= 0 && Continues(sandbox.CodeAt(page - 4096), gpa) && Continues(gpa, sandbox.CodeAt(page + 4096));

        bool Continues(ulong first, ulong second) => first == ulong.MaxValue || second == ulong.MaxValue
            || _scan.Continues(Bytes(first), _scanned[first], Bytes(second));
    }

    // Where a page's last instruction begins if it goes on, or that one needs the monitor. Once looked at, a page is watched: when it is
    // written its answer is forgotten.
    private int Scan(ulong page, ulong gpa)
    {
        int tail = Scan(gpa);
        if (tail != UserCode.Doubtful)
        {
            return tail;
        }

        // The page before tells where the first instruction begins.
        PageWalkResult before = PageWalk.Probe(_memory, _cpu.UserPaging, page - 4096, AccessKind.Execute);
        int first = 0;
        if (before.Succeeded && _memory.HostAddress(before.PhysicalAddress, 4096) != 0)
        {
            int last = Scan(before.PhysicalAddress);
            if (last < 0)
            {
                return UserCode.Sensitive;
            }

            first = _scan.Overlap(Bytes(before.PhysicalAddress), last, Bytes(gpa));
            if (!_followers.TryGetValue(before.PhysicalAddress, out HashSet<ulong>? followers))
            {
                _followers[before.PhysicalAddress] = followers = [];
            }

            followers.Add(gpa);
        }

        return _scanned[gpa] = _scan.Scan(Bytes(gpa), first);
    }

    private int Scan(ulong gpa)
    {
        if (!_scanned.TryGetValue(gpa, out int tail))
        {
            _code.Watch(gpa);
            tail = _scan.Scan(Bytes(gpa));
            _scanned[gpa] = tail;
        }

        return tail;
    }

    private byte* Bytes(ulong gpa) => (byte*)_memory.HostAddress(gpa, 4096);

    private void Revoke(ulong gpa, PageUse use)
    {
        foreach (Program program in _held)
        {
            program.Sandbox!.Revoke(gpa, use);
        }
    }

    // A page's code was written, or (all ones) nothing is known of any page.
    private void Forget(ulong gpa)
    {
        if (gpa != ulong.MaxValue)
        {
            _outlook.Forget(gpa);
            _code.StopReporting(gpa);
            if (_scanned.Remove(gpa))
            {
                Revoke(gpa, PageUse.Execute);
            }

            if (_followers.Remove(gpa, out HashSet<ulong>? followers))
            {
                foreach (ulong follower in followers)
                {
                    Forget(follower);
                }
            }

            return;
        }

        _outlook.ForgetPages();
        _scanned.Clear();
        _followers.Clear();
        foreach (Program program in _held)
        {
            program.Sandbox!.Revoke(PageUse.Execute);
        }
    }
}
