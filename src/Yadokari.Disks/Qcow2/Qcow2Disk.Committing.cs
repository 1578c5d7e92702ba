using System.Buffers.Binary;

namespace Yadokari.Disks.Qcow2;

// How changed tables reach the file.
internal sealed partial class Qcow2Disk
{
    private readonly Lock _commit = new(); // One commit at a time.
    private readonly MetadataWrites _countWrites = new();
    private readonly MetadataWrites _countTableWrites = new();
    private readonly MetadataWrites _mapWrites = new();
    private readonly List<int> _committedL1 = [];
    private readonly List<long> _committed = []; // Clusters that nothing refers to once the commit under way is done.

    // Guarded by _sync.
    private readonly SortedSet<int> _changedL1 = [];
    private readonly List<long> _dropped = []; // Clusters that tables refer to in the file, and not in memory.
    private readonly int[] _inFlight = new int[2];
    private List<long> _unreferred = []; // Clusters that no table refers to any more; somebody may still be reading or writing them.
    private List<long> _draining = []; // The same, and who came since does not.
    private int _generation;
    private volatile bool _isDraining;

    private bool IsLazy => (_header.Compatible & Qcow2Header.LazyRefcounts) != 0 && _header.Version >= 3;

    /// <inheritdoc/>
    public bool TryFlush() => ReadOnly ? !_isCorrupt : TryCommit(counts: false);

    // Somebody begins to read or write clusters. With _sync held.
    private int Enter()
    {
        Interlocked.Increment(ref _inFlight[_generation]);
        return _generation;
    }

    private void Leave(int generation)
    {
        if (Interlocked.Decrement(ref _inFlight[generation]) == 0 && _isDraining)
        {
            lock (_sync)
            {
                Drain();
            }
        }
    }

    // Frees what nobody can be reading or writing. With _sync held.
    private void Drain()
    {
        while (true)
        {
            if (_isDraining)
            {
                if (Volatile.Read(ref _inFlight[1 - _generation]) != 0)
                {
                    return;
                }

                _isDraining = false;
                _counts!.Free(_draining);
                _draining.Clear();
                if (_counts.IsCorrupt)
                {
                    FoundCorrupt();
                }
            }

            if (_unreferred.Count == 0)
            {
                return;
            }

            (_draining, _unreferred) = (_unreferred, _draining);
            _generation = 1 - _generation;
            _isDraining = true;
        }
    }

    // Changes need room in the cache, which only a commit makes.
    private bool TryHaveRoom() => !_isCorrupt && (!_l2.IsCrowded || TryCommit(counts: false));

    // Before the first change, an image whose counts are kept back says that they may be wrong. With _sync held.
    private bool TryMarkDirty() => !IsLazy || (_incompatible & Qcow2Header.Dirty) != 0 || WriteIncompatible(_incompatible | Qcow2Header.Dirty);

    // Makes everything lasting that was done before. An image that is marked as dirty may keep its counts back.
    private bool TryCommit(bool counts)
    {
        lock (_commit)
        {
            lock (_sync)
            {
                if (_isCorrupt)
                {
                    return false;
                }

                if (counts || !IsLazy)
                {
                    _counts!.BeginWriting(_countWrites, _countTableWrites, _dropped);
                }

                _l2.BeginWriting(_mapWrites);
                Span<byte> entry = stackalloc byte[8];
                foreach (int i in _changedL1)
                {
                    BinaryPrimitives.WriteUInt64BigEndian(entry, _l1[i]);
                    _mapWrites.Add(_header.L1Offset + (i * 8L), entry);
                    _committedL1.Add(i);
                }

                _changedL1.Clear();
                _committed.AddRange(_dropped);
                _dropped.Clear();
            }

            bool done = _countWrites.TryWrite(_file) && _file.TryFlush()
                && (_countTableWrites.IsEmpty || (_countTableWrites.TryWrite(_file) && _file.TryFlush()))
                && (_mapWrites.IsEmpty || (_mapWrites.TryWrite(_file) && _file.TryFlush()));
            lock (_sync)
            {
                _counts!.EndWriting(done);
                _l2.EndWriting(done);
                (done ? _unreferred : _dropped).AddRange(_committed);
                if (!done)
                {
                    _changedL1.UnionWith(_committedL1);
                }

                Drain();
            }

            _committed.Clear();
            _committedL1.Clear();
            _countWrites.Clear();
            _countTableWrites.Clear();
            _mapWrites.Clear();
            return done;
        }
    }

    // The last commits: all counts are right afterwards, and the image says so.
    private void Close()
    {
        // The second writes the counts of what the first left free.
        if (TryCommit(counts: true) && (!_counts!.HasChanged || TryCommit(counts: true)) && !_counts.HasChanged && (_incompatible & Qcow2Header.Dirty) != 0)
        {
            WriteIncompatible(_incompatible & ~Qcow2Header.Dirty);
        }
    }
}
