namespace Yadokari.Translation.Code;

/// <summary>
/// Direct jumps from supervisor code to another linear page. They hold while that page shows the same guest physical page, so each flush
/// that could change this looks again instead of undoing them all.
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
    private readonly List<ulong> _gone = [];
    private readonly HashSet<ulong> _local = [];

    /// <summary>Notes a link to a linear page that shows a guest physical page now.</summary>
    public void Add(ulong linearPage, ulong gpa, bool global, nint displacement, nint unlinked)
    {
        if (!_targets.TryGetValue(linearPage, out Target? target) || target.Gpa != gpa)
        {
            if (target != null)
            {
                Undo(linearPage, target);
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

    /// <summary>Translations of pages that are not global, or of all pages, were flushed.</summary>
    /// <param name="probe">Guest physical address of a linear address now.</param>
    /// <param name="global">Global pages too.</param>
    public void Check(Func<ulong, ulong> probe, bool global)
    {
        if (global)
        {
            foreach ((ulong page, Target target) in _targets)
            {
                NoteIfGone(page, target);
            }
        }
        else
        {
            foreach (ulong page in _local)
            {
                NoteIfGone(page, _targets[page]);
            }
        }

        foreach (ulong page in _gone)
        {
            Undo(page, _targets[page]);
        }

        _gone.Clear();

        void NoteIfGone(ulong page, Target target)
        {
            if (probe(page) != target.Gpa)
            {
                _gone.Add(page);
            }
        }
    }

    /// <summary>The translation of one page was flushed.</summary>
    public void Check(Func<ulong, ulong> probe, ulong linearPage)
    {
        if (_targets.TryGetValue(linearPage, out Target? target) && probe(linearPage) != target.Gpa)
        {
            Undo(linearPage, target);
        }
    }

    /// <summary>All host code is gone.</summary>
    public void Clear()
    {
        _targets.Clear();
        _local.Clear();
    }

    private void Undo(ulong page, Target target)
    {
        foreach ((nint displacement, nint unlinked) in target.Links)
        {
            HostAssembler.Patch((byte*)displacement, (byte*)unlinked);
        }

        _targets.Remove(page);
        _local.Remove(page);
    }
}
