using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Which pages of code may run in a sandbox (<see cref="UserCode"/>), by physical page. Once looked at, a page is watched: when it is written,
/// what was found is forgotten, and so is what was found of those after it that depends on its bytes. Of the vCPU's thread.
/// </summary>
internal sealed unsafe class CodePages(Vcpu cpu, GuestMemory memory, TranslatedCode code)
{
    private readonly UserCode _scan = new(cpu.Vm.InstructionSet.Decoding);

    // Where a page's last instruction begins if it goes on, or that one needs the monitor.
    private readonly Dictionary<ulong, int> _scanned = [];

    // Of a page, those after it whose answers depend on its bytes: by what came before it was known where their first instruction begins.
    private readonly Dictionary<ulong, HashSet<ulong>> _followers = [];

    /// <summary>RDTSC stops the process, as far as is known; where it does not, pages with it run translated.</summary>
    public bool HidesClock => _scan.HidesClock;

    /// <summary>CPUID stops the process, as far as is known; where it does not, pages with it run translated.</summary>
    public bool HidesProcessor => _scan.HidesProcessor;

    /// <summary>A process was started, and shows what it can hide. Before pages are looked at for it.</summary>
    public void Learn(bool hidesClock, bool hidesProcessor, bool keepsBases)
        => (_scan.HidesClock, _scan.HidesProcessor, _scan.KeepsBases) = (hidesClock, hidesProcessor, keepsBases);

    /// <summary>Whether a page may be executed next to those that are.</summary>
    public bool IsInnocuous(Sandbox sandbox, ulong page, ulong gpa)
    {
        return Scan(page, gpa) >= 0 && Continues(sandbox.CodeAt(page - 4096), gpa) && Continues(gpa, sandbox.CodeAt(page + 4096));

        bool Continues(ulong first, ulong second) => first == ulong.MaxValue || second == ulong.MaxValue
            || _scan.Continues(Bytes(first), _scanned[first], Bytes(second));
    }

    /// <summary>A page was written. Returns whether something was known of it, which no longer counts.</summary>
    /// <param name="gpa">The page.</param>
    /// <param name="followers">Pages after it of which no more is known now, either.</param>
    public bool Forget(ulong gpa, out HashSet<ulong>? followers)
    {
        _followers.Remove(gpa, out followers);
        return _scanned.Remove(gpa);
    }

    /// <summary>Nothing is known of any page.</summary>
    public void Forget()
    {
        _scanned.Clear();
        _followers.Clear();
    }

    private int Scan(ulong page, ulong gpa)
    {
        int tail = Scan(gpa);
        if (tail != UserCode.Doubtful)
        {
            return tail;
        }

        // The page before tells where the first instruction begins.
        PageWalkResult before = PageWalk.Probe(memory, cpu.Mmu.UserPaging, page - 4096, AccessKind.Execute);
        int first = 0;
        if (before.Succeeded && memory.HostAddress(before.PhysicalAddress, 4096) != 0)
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
            code.Watch(gpa);
            tail = _scan.Scan(Bytes(gpa));
            _scanned[gpa] = tail;
        }

        return tail;
    }

    private byte* Bytes(ulong gpa) => (byte*)memory.HostAddress(gpa, 4096);
}
