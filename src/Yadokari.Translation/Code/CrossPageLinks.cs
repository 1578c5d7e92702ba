namespace Yadokari.Translation.Code;

/// <summary>
/// Linked jumps from supervisor code to another linear page. A link is valid while that page is mapped to the same guest physical page. A TLB
/// flush checks the mappings that it may have changed and unlinks only the jumps whose mapping did change.
/// </summary>
internal sealed unsafe class CrossPageLinks
{
    private sealed class Target(ulong gpa, bool global)
    {
        public readonly ulong Gpa = gpa;
        public bool Global = global;
        public readonly List<(nint Displacement, nint Unlinked)> Links = [];
    }

    private readonly Dictionary<ulong, Target> _targets = [];
    private readonly List<ulong> _remapped = [];
    private readonly HashSet<ulong> _local = [];

    /// <summary>Records a link to a linear page that is mapped to a guest physical page now.</summary>
    public void Add(ulong linearPage, ulong gpa, bool global, nint displacement, nint unlinked)
    {
        if (!_targets.TryGetValue(linearPage, out Target? target) || target.Gpa != gpa)
        {
            if (target != null)
            {
                Unlink(linearPage, target);
            }

            target = new Target(gpa, global);
            _targets[linearPage] = target;
        }

        target.Global &= global;
        if (!target.Global)
        {
            _local.Add(linearPage);
        }

        target.Links.Add((displacement, unlinked));
    }

    /// <summary>The TLB was flushed: checks the links to non-global pages, or to all pages.</summary>
    /// <param name="probe">Translates a linear page to its guest physical address.</param>
    /// <param name="global">Whether global pages were flushed too.</param>
    public void Check(Func<ulong, ulong> probe, bool global)
    {
        if (global)
        {
            foreach ((ulong page, Target target) in _targets)
            {
                AddIfRemapped(page, target);
            }
        }
        else
        {
            foreach (ulong page in _local)
            {
                AddIfRemapped(page, _targets[page]);
            }
        }

        foreach (ulong page in _remapped)
        {
            Unlink(page, _targets[page]);
        }

        _remapped.Clear();

        void AddIfRemapped(ulong page, Target target)
        {
            if (probe(page) != target.Gpa)
            {
                _remapped.Add(page);
            }
        }
    }

    /// <summary>The translation of one page was flushed (INVLPG): checks the links to it.</summary>
    public void Check(Func<ulong, ulong> probe, ulong linearPage)
    {
        if (_targets.TryGetValue(linearPage, out Target? target) && probe(linearPage) != target.Gpa)
        {
            Unlink(linearPage, target);
        }
    }

    /// <summary>Forgets all links after the code cache was flushed.</summary>
    public void Clear()
    {
        _targets.Clear();
        _local.Clear();
    }

    private void Unlink(ulong page, Target target)
    {
        foreach ((nint displacement, nint unlinked) in target.Links)
        {
            HostAssembler.Patch((byte*)displacement, (byte*)unlinked);
        }

        _targets.Remove(page);
        _local.Remove(page);
    }
}
