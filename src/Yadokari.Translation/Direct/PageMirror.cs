using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Maps guest pages into the sandbox of the running program. A mapping never has more rights than the guest's page tables give, and requires
/// their accessed bit, for writing their dirty bit. It is writable only if the monitor need not see the writes, and executable only if
/// <see cref="CodePages"/> permits that. On the vCPU's thread.
/// </summary>
internal sealed class PageMirror(Vcpu cpu, GuestMemory memory, TranslatedCode code, CodePages codePages)
{
    // Rights of a page that can be written without another page walk.
    private const PageRights Writes = PageRights.Writable | PageRights.Dirty;

    /// <summary>Count of pages mapped into sandboxes.</summary>
    public long PagesMapped { get; private set; }

    /// <summary>Whether the last page that could not be mapped contains code that must be translated.</summary>
    public bool RefusedCode { get; private set; }

    /// <summary>Clears <see cref="RefusedCode"/>.</summary>
    public void ForgetRefusal() => RefusedCode = false;

    /// <summary>Whether a mapping of a sandbox still agrees with the guest's page tables.</summary>
    public bool Holds(ulong linear, ulong gpa, uint length, PageUse use)
    {
        PageWalkResult walk = PageWalk.Probe(memory, cpu.Mmu.UserPaging, linear, (use & PageUse.Execute) != 0 ? AccessKind.Execute : AccessKind.Read);
        return walk.Succeeded && walk.PhysicalAddress == gpa && walk.PageSize >= length
            && (walk.Rights & (PageRights.Readable | PageRights.Accessed)) == (PageRights.Readable | PageRights.Accessed)
            && ((use & PageUse.Write) == 0 || (walk.Rights & Writes) == Writes);
    }

    /// <summary>
    /// Handles a page fault of the process: maps the page if the guest's tables permit the access. False if the guest takes the fault, or the
    /// instruction must be translated.
    /// </summary>
    public bool Resolve(Sandbox sandbox, ulong address, ulong rip)
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
            // The page after an instruction may be its second page, or the start of its data.
            return Show(sandbox, address, AccessKind.Execute) || (next && use == PageUse.None && Show(sandbox, address, AccessKind.Read));
        }

        return use == PageUse.None ? Show(sandbox, address, AccessKind.Read)
            : (use & PageUse.Write) == 0 && Show(sandbox, address, AccessKind.Write);
    }

    /// <summary>
    /// Maps a page for an access, and the pages around it that the guest has accessed before. False if the page can't be mapped for the access.
    /// </summary>
    public bool Show(Sandbox sandbox, ulong linear, AccessKind access)
    {
        RefusedCode = false;
        PageWalkResult walk = PageWalk.Walk(memory, cpu.Mmu.UserPaging, linear, access);
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

        // Maps neighbours that were accessed before, because one stop takes longer than many mappings. Fewer for code, which must be scanned.
        ulong around = access == AccessKind.Execute ? 16ul * 4096 : 64ul * 4096;
        ulong first = page & ~(around - 1);
        for (ulong near = first; near < first + around; near += 4096)
        {
            if (near == page || sandbox.UseOf(near) != PageUse.None)
            {
                continue;
            }

            AccessKind kind = access == AccessKind.Execute ? AccessKind.Execute : AccessKind.Read;
            walk = PageWalk.Probe(memory, cpu.Mmu.UserPaging, near, kind);
            if (walk.Succeeded && (walk.Rights & PageRights.Accessed) != 0)
            {
                _ = Show(sandbox, near, walk.PhysicalAddress, walk.Rights, kind);
            }
        }

        RefusedCode = false;
        return true;
    }

    private bool Show(Sandbox sandbox, ulong page, ulong gpa, PageRights rights, AccessKind access)
    {
        if (memory.HostAddress(gpa, 4096) == 0)
        {
            return false;
        }

        PageUse use = PageUse.Read;
        if (access == AccessKind.Execute)
        {
            if (!codePages.IsInnocuous(sandbox, page, gpa))
            {
                RefusedCode = true;
                code.ReportRuns(gpa);
                return false;
            }

            use |= PageUse.Execute;
        }

        // While dirty pages are logged, a page becomes writable only by a write access.
        if ((rights & Writes) == Writes && (access == AccessKind.Write || !memory.DirtyPages.IsNoted) && !cpu.IsCode(gpa) && cpu.MayWrite(gpa))
        {
            memory.Written(gpa, 1);
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

        // While dirty pages are logged, mappings are per page: a large one for reading and a small one for writing would replace each other.
        if (memory.DirtyPages.IsNoted || memory.HostAddress(gpa, Sandbox.LargePage) == 0 || (access == AccessKind.Write && !write))
        {
            return false;
        }

        // Code within it is mapped by single pages, which a large mapping would replace again and again.
        for (ulong code = page; code < page + Sandbox.LargePage; code += 4096)
        {
            if (sandbox.CodeAt(code) != ulong.MaxValue)
            {
                return false;
            }
        }

        for (ulong part = gpa; part < gpa + Sandbox.LargePage && write; part += 4096)
        {
            if (cpu.IsCode(part) || !cpu.MayWrite(part))
            {
                return false;
            }
        }

        sandbox.Map(page, gpa, Sandbox.LargePage, write ? PageUse.Read | PageUse.Write : PageUse.Read);
        PagesMapped++;
        return true;
    }
}
