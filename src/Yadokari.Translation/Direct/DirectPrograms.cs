using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>
/// The programs of a vCPU of which something is known, each by the root of its page tables: no more than <see cref="MostKnown"/>, of which
/// one without a process goes when another comes. Of the vCPU's thread.
/// </summary>
/// <param name="cpu">The vCPU.</param>
/// <param name="memory">The guest's.</param>
/// <param name="mode">In <see cref="DirectMode.Always"/> a root always stands for the same program.</param>
/// <param name="outlook">What other programs of the machine showed.</param>
/// <param name="leaves">Called before a program is forgotten.</param>
internal sealed class DirectPrograms(Vcpu cpu, GuestMemory memory, DirectMode mode, DirectOutlook outlook, Action<DirectProgram> leaves)
{
    /// <summary>Programs of which something is known.</summary>
    public const int MostKnown = 256;

    // Where CR3 has the address of the page tables' root.
    private const ulong RootBits = 0x000F_FFFF_FFFF_F000;

    private readonly Dictionary<ulong, DirectProgram> _programs = [];
    private DirectProgram? _current;
    private ulong _currentRoot = ulong.MaxValue;

    /// <summary>The root of the current page tables.</summary>
    public ulong Root => cpu.Cr3 & RootBits;

    /// <summary>Whether a program is known, by the address of its page tables.</summary>
    public bool Knows(ulong root) => _programs.ContainsKey(root);

    /// <summary>The program of the current page tables.</summary>
    /// <param name="create">Where it is unknown: only while it is about to run, for its witness is the page that RIP is in.</param>
    public DirectProgram? Current(bool create)
    {
        ulong root = Root;
        if (root == _currentRoot && (_current != null || !create))
        {
            return _current;
        }

        if (_programs.TryGetValue(root, out _current) && !IsSame(_current))
        {
            // The guest's kernel gave a program's root to another program, which has to show for itself what it is like.
            Remove(_current);
            _current = null;
        }

        _currentRoot = root;
        if (_current == null && create)
        {
            if (_programs.Count >= MostKnown)
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

    /// <summary>What the current root stands for may have changed.</summary>
    public void LookAgain() => _currentRoot = ulong.MaxValue;

    /// <summary>Forgets all of them, whose processes are gone.</summary>
    public void Clear()
    {
        _programs.Clear();
        LookAgain();
    }

    private void Remove(DirectProgram program)
    {
        leaves(program);
        _programs.Remove(program.Root);
    }
}
