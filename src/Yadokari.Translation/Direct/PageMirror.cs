using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Shows a guest's pages in the sandbox of the program that runs: never with more rights than the guest's page tables give and have noted as
/// used, writable only where writes need not be seen, executable only where <see cref="CodePages"/> says so. Of the vCPU's thread.
/// </summary>
internal sealed class PageMirror(Vcpu cpu, GuestMemory memory, TranslatedCode code, CodePages codePages)
{
    // What lets a page be written without another look at the guest's tables.
    private const PageRights Writes = PageRights.Writable | PageRights.Dirty;

    /// <summary>Pages mapped into sandboxes.</summary>
    public long PagesMapped { get; private set; }

    /// <summary>The last page that could not be shown holds code that must be translated.</summary>
    public bool RefusedCode { get; private set; }

    /// <summary>Nothing was refused yet.</summary>
    public void ForgetRefusal() => RefusedCode = false;

    /// <summary>Whether the guest's page tables still say what a sandbox shows.</summary>
    public bool Holds(ulong linear, ulong gpa, uint length, PageUse use)
    {
        PageWalkResult walk = PageWalk.Probe(memory, cpu.Mmu.UserPaging, linear, (use & PageUse.Execute) != 0 ? AccessKind.Execute : AccessKind.Read);
        return walk.Succeeded && walk.PhysicalAddress == gpa && walk.PageSize >= length
            && (walk.Rights & (PageRights.Readable | PageRights.Accessed)) == (PageRights.Readable | PageRights.Accessed)
            && ((use & PageUse.Write) == 0 || (walk.Rights & Writes) == Writes);
    }

    /// <summary>A page fault in the process: maps what the guest's tables allow. False if the guest is to take the fault, or the translator the instruction.</summary>
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
            // The second page of an instruction may as well be data.
            return Show(sandbox, address, AccessKind.Execute) || (next && use == PageUse.None && Show(sandbox, address, AccessKind.Read));
        }

        return use == PageUse.None ? Show(sandbox, address, AccessKind.Read)
            : (use & PageUse.Write) == 0 && Show(sandbox, address, AccessKind.Write);
    }

    /// <summary>Maps a page for an access, and its neighbours for those that happened before. False if it may not be so used.</summary>
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

        // Where it is noted which pages are written, leave to do so is given to none that is only read.
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

        // Where it is noted which pages are written, one that is read and one that is written must not drive each other out.
        if (memory.DirtyPages.IsNoted || memory.HostAddress(gpa, Sandbox.LargePage) == 0 || (access == AccessKind.Write && !write))
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
