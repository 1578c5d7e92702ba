namespace Yadokari.Disks.Qcow2;

internal sealed partial class Qcow2Disk
{
    /// <inheritdoc/>
    public bool TryDiscard(long offset, long length)
    {
        // Version 2 can't say of a cluster that it is nothing where the backing file has something: it keeps what it has.
        long first = (offset + _clusterSize - 1) >> _clusterBits;
        long end = offset + length == Length ? (Length + _clusterSize - 1) >> _clusterBits : (offset + length) >> _clusterBits;
        return first >= end || (_header.Version < 3 && _backing is not null) || TryClear(first, end, mayDiscard: true);
    }

    /// <inheritdoc/>
    public bool TryWriteZeroes(long offset, long length, bool mayDiscard)
    {
        long end = offset + length;
        long first = (offset + _clusterSize - 1) >> _clusterBits;
        long past = end == Length ? (Length + _clusterSize - 1) >> _clusterBits : end >> _clusterBits;
        if (first >= past || (_header.Version < 3 && (_backing is not null || !mayDiscard)))
        {
            return TryZeroBytes(offset, end);
        }

        return TryZeroBytes(offset, Math.Min(end, first << _clusterBits))
            && TryClear(first, past, mayDiscard)
            && TryZeroBytes(Math.Min(end, past << _clusterBits), end);
    }

    // Zeroes as data, except where there are some.
    private bool TryZeroBytes(long offset, long end)
    {
        while (offset < end)
        {
            long known = KnownZeroes(offset);
            if (known > 0)
            {
                offset += known;
                continue;
            }

            // Up to the end of the cluster, where things may change.
            int piece = (int)Math.Min(Math.Min(end - offset, _clusterSize - (offset & (_clusterSize - 1))), s_zeroes.Length);
            if (!TryWrite(offset, s_zeroes.AsSpan(0, piece)))
            {
                return false;
            }

            offset += piece;
        }

        return true;
    }

    // Whole clusters become zeroes.
    private bool TryClear(long first, long end, bool mayDiscard)
    {
        while (first < end)
        {
            if (!TryHaveRoom())
            {
                return false;
            }

            lock (_sync)
            {
                if (!TryClearSome(ref first, end, mayDiscard))
                {
                    return false;
                }
            }
        }

        return true;
    }

    // Those whose entries are in one slice.
    private bool TryClearSome(ref long cluster, long end, bool mayDiscard)
    {
        long most;
        do
        {
            if (_isCorrupt)
            {
                return false;
            }
        }
        while (!WaitFor(cluster, out most));

        if (!TryGetSlice(cluster, out Span<byte> slice, out int index, out int count))
        {
            return false;
        }

        if (slice.IsEmpty && HasNoBacking(cluster << _clusterBits))
        {
            cluster = Math.Min(Math.Min(end, cluster + most), ((cluster >> _header.L2Bits) + 1) << _header.L2Bits);
            return true;
        }

        bool owned = false;
        for (long last = Math.Min(Math.Min(end, cluster + Math.Min(most, count)), cluster + count - index); cluster < last; cluster++, index++)
        {
            ulong old = Entry(slice, index);
            if (!TryDecode(old, out Kind kind, out long host))
            {
                return FoundCorrupt();
            }

            bool bare = HasNoBacking(cluster << _clusterBits);
            bool keep = !mayDiscard && host != 0 && (old & IsCopied) != 0;
            ulong now = keep ? old | IsZero : bare && (mayDiscard || kind == Kind.Unallocated) ? 0 : IsZero;
            if (_header.Version < 3)
            {
                now = 0; // Only where nothing is behind it.
            }

            if (now == old)
            {
                continue;
            }

            if (!owned)
            {
                if (!TryMarkDirty() || !TryOwnTable(cluster) || !TryGetSlice(cluster, out slice, out index, out _))
                {
                    return false;
                }

                owned = true;
            }

            SetEntry(slice, index, now);
            if (!keep)
            {
                Drop(old);
            }
        }

        return true;
    }
}
