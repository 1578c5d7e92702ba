namespace Yadokari.Disks.Qcow2;

/// <summary>
/// A cache of slices of an image's tables. The caller holds the disk's lock. A dirty slice is not evicted before it is written back: L2 tables only
/// by a commit, refcount blocks also to make room.
/// </summary>
/// <param name="file">The image.</param>
/// <param name="sliceSize">Bytes of a slice.</param>
/// <param name="capacity">How many slices.</param>
/// <param name="writesBack">Whether a dirty slice may be written back at any time.</param>
internal sealed class TableCache(IImageFile file, int sliceSize, int capacity, bool writesBack)
{
    private readonly Dictionary<long, int> _where = [];
    private readonly Slot[] _slots = new Slot[capacity];
    private int _used;
    private int _hand;
    private long _lastOffset = -1;
    private int _last;

    private enum State : byte
    {
        Clean,
        Changed,

        // A commit has copied it and is writing it.
        Writing,

        // The same, and it has changed since.
        ChangedWhileWriting,
    }

    /// <summary>Bytes of a slice.</summary>
    public int SliceSize => sliceSize;

    /// <summary>The number of dirty slices.</summary>
    public int Changed { get; private set; }

    /// <summary>Whether so many slices are dirty that a commit is needed.</summary>
    public bool IsCrowded => Changed > capacity / 2;

    /// <summary>The slice at an offset, which stays good as long as the lock is held and no other slice is asked for. False where the host can't.</summary>
    public bool TryGet(long offset, out Span<byte> slice)
    {
        if (offset == _lastOffset || _where.TryGetValue(offset, out _last))
        {
            _lastOffset = offset;
            ref Slot slot = ref _slots[_last];
            slot.Recent = true;
            slice = slot.Data;
            return true;
        }

        slice = default;
        _lastOffset = -1;
        if (!TryMakeRoom(out int index))
        {
            return false;
        }

        ref Slot empty = ref _slots[index];
        empty.Data ??= new byte[sliceSize];
        empty.Offset = -1;
        int there = (int)Math.Clamp(file.Length - offset, 0, sliceSize);
        if (!file.TryRead(offset, empty.Data.AsSpan(0, there)))
        {
            return false;
        }

        empty.Data.AsSpan(there).Clear();
        empty.Offset = offset;
        empty.Recent = true;
        _where[offset] = index;
        _last = index;
        _lastOffset = offset;
        slice = empty.Data;
        return true;
    }

    /// <summary>Marks the slice returned last as dirty.</summary>
    public void Touch()
    {
        ref Slot slot = ref _slots[_last];
        if (slot.State is State.Clean or State.Writing)
        {
            slot.State = slot.State == State.Clean ? State.Changed : State.ChangedWhileWriting;
            Changed++;
        }
    }

    /// <summary>Invalidates the slices of a range.</summary>
    public void Forget(long offset, long length)
    {
        for (long at = offset; at < offset + length; at += sliceSize)
        {
            if (_where.Remove(at, out int index))
            {
                Changed -= _slots[index].State is State.Changed or State.ChangedWhileWriting ? 1 : 0;
                _slots[index].State = State.Clean;
                _slots[index].Offset = -1;
            }
        }

        _lastOffset = -1;
    }

    /// <summary>Copies what has changed; it is then being written.</summary>
    public void BeginWriting(MetadataWrites writes)
    {
        for (int i = 0; i < _used && Changed > 0; i++)
        {
            ref Slot slot = ref _slots[i];
            if (slot.State == State.Changed)
            {
                writes.Add(slot.Offset, slot.Data);
                slot.State = State.Writing;
                Changed--;
            }
        }
    }

    /// <summary>What was copied is written, or is not and stays changed.</summary>
    public void EndWriting(bool written)
    {
        for (int i = 0; i < _used; i++)
        {
            ref Slot slot = ref _slots[i];
            if (slot.State == State.Writing)
            {
                slot.State = written ? State.Clean : State.Changed;
                Changed += written ? 0 : 1;
            }
            else if (slot.State == State.ChangedWhileWriting)
            {
                slot.State = State.Changed;
            }
        }
    }

    // Clock (second chance) replacement: a slice that was used since the hand passed stays for one more round.
    private bool TryMakeRoom(out int index)
    {
        if (_used < _slots.Length)
        {
            index = _used++;
            _slots[index].Offset = -1;
            return true;
        }

        for (int tries = 0; tries < _slots.Length * 2; tries++)
        {
            index = _hand;
            _hand = (_hand + 1) % _slots.Length;
            ref Slot slot = ref _slots[index];
            if (slot.Recent || slot.State is State.Writing or State.ChangedWhileWriting || (slot.State == State.Changed && !writesBack))
            {
                slot.Recent = false;
                continue;
            }

            if (slot.State == State.Changed)
            {
                if (!file.TryWrite(slot.Offset, slot.Data))
                {
                    return false;
                }

                slot.State = State.Clean;
                Changed--;
            }

            _where.Remove(slot.Offset);
            slot.Offset = -1;
            return true;
        }

        index = -1;
        return false;
    }

    private struct Slot
    {
        public long Offset;
        public byte[] Data;
        public bool Recent;
        public State State;
    }
}
