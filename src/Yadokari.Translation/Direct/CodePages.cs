using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Caches which pages of code may run in a sandbox (<see cref="UserCode"/>), by physical page. A scanned page is watched: when it is written, its
/// result is dropped, and so are those of following pages that depend on its bytes. On the vCPU's thread.
/// </summary>
internal sealed unsafe class CodePages(Vcpu cpu, GuestMemory memory, TranslatedCode code)
{
    private readonly UserCode _scan = new(cpu.Vm.InstructionSet.Decoding);

    // Result of UserCode.Scan by page.
    private readonly Dictionary<ulong, int> _scanned = [];

    // For a page, the following pages whose results depend on it: it determined where their first instruction begins.
    private readonly Dictionary<ulong, HashSet<ulong>> _followers = [];

    /// <summary>Whether RDTSC stops the process (true until a process shows otherwise). If not, pages that contain it run translated.</summary>
    public bool HidesClock => _scan.HidesClock;

    /// <summary>Whether CPUID stops the process (true until a process shows otherwise). If not, pages that contain it run translated.</summary>
    public bool HidesProcessor => _scan.HidesProcessor;

    /// <summary>Sets the abilities of the host's processes. Called after a process was started, before pages are scanned for it.</summary>
    public void Learn(bool hidesClock, bool hidesProcessor, bool keepsBases)
        => (_scan.HidesClock, _scan.HidesProcessor, _scan.KeepsBases) = (hidesClock, hidesProcessor, keepsBases);

    /// <summary>Whether a page may be executed in a sandbox, given its neighbours there.</summary>
    public bool IsInnocuous(Sandbox sandbox, ulong page, ulong gpa)
    {
        return Scan(page, gpa) >= 0 && Continues(sandbox.CodeAt(page - 4096), gpa) && Continues(gpa, sandbox.CodeAt(page + 4096));

        bool Continues(ulong first, ulong second) => first == ulong.MaxValue || second == ulong.MaxValue
            || _scan.Continues(Bytes(first), _scanned[first], Bytes(second));
    }

    /// <summary>Drops the result of a page that was written. Returns whether it had one.</summary>
    /// <param name="gpa">Guest physical address of the page.</param>
    /// <param name="followers">Following pages whose results must be dropped too.</param>
    public bool Forget(ulong gpa, out HashSet<ulong>? followers)
    {
        _followers.Remove(gpa, out followers);
        return _scanned.Remove(gpa);
    }

    /// <summary>Drops all results.</summary>
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

        // The page before determines where the first instruction begins.
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
