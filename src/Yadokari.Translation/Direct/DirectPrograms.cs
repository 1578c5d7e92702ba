using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>
/// The known programs of a vCPU, each identified by the root of its page tables. At most <see cref="MaxKnown"/>: a new one replaces the least
/// recently run program without a process. On the vCPU's thread.
/// </summary>
/// <param name="cpu">The vCPU.</param>
/// <param name="memory">Guest memory.</param>
/// <param name="mode">In <see cref="DirectMode.Always"/>, a root identifies the same program for ever.</param>
/// <param name="outlook">Measurements of all programs of the machine.</param>
/// <param name="removing">Called before a program is removed.</param>
internal sealed class DirectPrograms(Vcpu cpu, GuestMemory memory, DirectMode mode, DirectOutlook outlook, Action<DirectProgram> removing)
{
    /// <summary>Maximum number of known programs.</summary>
    public const int MaxKnown = 256;

    // The bits of CR3 that hold the root's address.
    private const ulong RootBits = 0x000F_FFFF_FFFF_F000;

    private readonly Dictionary<ulong, DirectProgram> _programs = [];
    private DirectProgram? _current;
    private ulong _currentRoot = ulong.MaxValue;

    /// <summary>Guest physical address of the root of the current page tables.</summary>
    public ulong Root => cpu.Cr3 & RootBits;

    /// <summary>Whether the program with this root is known.</summary>
    public bool Knows(ulong root) => _programs.ContainsKey(root);

    /// <summary>The program of the current page tables, or null if it is unknown and not created.</summary>
    /// <param name="create">Whether to create it if it is unknown. Only just before it runs, because its witness is the page at RIP.</param>
    public DirectProgram? Current(bool create)
    {
        ulong root = Root;
        if (root == _currentRoot && (_current != null || !create))
        {
            return _current;
        }

        if (_programs.TryGetValue(root, out _current) && !IsSame(_current))
        {
            // The guest's kernel reused the root for another program, which must be measured anew.
            Remove(_current);
            _current = null;
        }

        _currentRoot = root;
        if (_current == null && create)
        {
            if (_programs.Count >= MaxKnown)
            {
                Remove(_programs.Values.Where(static p => p.Sandbox == null).MinBy(static p => p.LastRun)!);
            }

            ulong page = cpu.Rip & ~0xFFFul;
            PageWalkResult walk = PageWalk.Probe(memory, cpu.Mmu.UserPaging, page, AccessKind.Read);
            _current = new DirectProgram(root, page, walk.Succeeded ? walk.PhysicalAddress : ulong.MaxValue, outlook);
            _programs.Add(root, _current);
        }

        return _current;
    }

    private bool IsSame(DirectProgram program)
    {
        if (mode == DirectMode.Always || program.WitnessGpa == ulong.MaxValue)
        {
            return true;
        }

        PageWalkResult walk = PageWalk.Probe(memory, cpu.Mmu.UserPaging, program.Witness, AccessKind.Read);
        return walk.Succeeded && walk.PhysicalAddress == program.WitnessGpa;
    }

    /// <summary>Makes <see cref="Current"/> check the witness again: the page tables may have changed.</summary>
    public void InvalidateCurrent() => _currentRoot = ulong.MaxValue;

    /// <summary>Forgets all programs, after their processes were disposed.</summary>
    public void Clear()
    {
        _programs.Clear();
        InvalidateCurrent();
    }

    private void Remove(DirectProgram program)
    {
        removing(program);
        _programs.Remove(program.Root);
    }
}
