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
    private readonly List<long> _freedByCommit = []; // Clusters that are unreferenced once the current commit is done.

    // Guarded by _sync.
    private readonly SortedSet<int> _changedL1 = [];
    private readonly List<long> _dropped = []; // Clusters that tables in the file refer to, and tables in memory no longer.
    private readonly int[] _inFlight = new int[2];
    private List<long> _unreferenced = []; // Clusters that no table refers to any more; requests in flight may still access them.
    private List<long> _draining = []; // The same, and requests that began since do not access them.
    private int _generation;
    private volatile bool _isDraining;

    private bool IsLazy => (_header.Compatible & Qcow2Header.LazyRefcounts) != 0 && _header.Version >= 3;

    /// <inheritdoc/>
    public bool TryFlush() => ReadOnly ? !_isCorrupt : TryCommit(counts: false);

    // A request begins to access clusters. With _sync held.
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

    // Frees clusters that no request in flight can access. With _sync held.
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

            if (_unreferenced.Count == 0)
            {
                return;
            }

            (_draining, _unreferenced) = (_unreferenced, _draining);
            _generation = 1 - _generation;
            _isDraining = true;
        }
    }

    // Dirty slices fill the cache: only a commit makes room.
    private bool TryHaveRoom() => !_isCorrupt && (!_l2.IsCrowded || TryCommit(counts: false));

    // Before the first change, sets the dirty bit of an image with lazy refcounts. With _sync held.
    private bool TryMarkDirty() => !IsLazy || (_incompatible & Qcow2Header.Dirty) != 0 || WriteIncompatible(_incompatible | Qcow2Header.Dirty);

    // Flush: completed changes are on stable storage afterwards. With the dirty bit set, refcount updates may be delayed further.
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
                _freedByCommit.AddRange(_dropped);
                _dropped.Clear();
            }

            bool done = _countWrites.TryWrite(_file) && _file.TryFlush()
                && (_countTableWrites.IsEmpty || (_countTableWrites.TryWrite(_file) && _file.TryFlush()))
                && (_mapWrites.IsEmpty || (_mapWrites.TryWrite(_file) && _file.TryFlush()));
            lock (_sync)
            {
                _counts!.EndWriting(done);
                _l2.EndWriting(done);
                (done ? _unreferenced : _dropped).AddRange(_freedByCommit);
                if (!done)
                {
                    _changedL1.UnionWith(_committedL1);
                }

                Drain();
            }

            _freedByCommit.Clear();
            _committedL1.Clear();
            _countWrites.Clear();
            _countTableWrites.Clear();
            _mapWrites.Clear();
            return done;
        }
    }

    // The last commits: all refcounts are written, and the dirty bit is cleared.
    private void Close()
    {
        // The second writes the refcounts of clusters that the first one freed.
        if (TryCommit(counts: true) && (!_counts!.HasChanged || TryCommit(counts: true)) && !_counts.HasChanged && (_incompatible & Qcow2Header.Dirty) != 0)
        {
            WriteIncompatible(_incompatible & ~Qcow2Header.Dirty);
        }
    }
}
