using System.Numerics;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;

namespace Yadokari.Translation.Tests;

/// <summary>A copy of a guest's memory, kept up by its dirty log as one that moves the guest keeps it: pages that were not noted stay old.</summary>
internal sealed class Mirror
{
    private readonly GuestMemory _memory;
    private readonly IDirtyLog _log;
    private readonly byte[] _copy;
    private readonly ulong[] _bitmap;

    /// <summary>Starts the log and copies all memory, of one region from 0.</summary>
    public Mirror(GuestMemory memory, IDirtyLog log)
    {
        (_memory, _log) = (memory, log);
        _copy = new byte[memory.End];
        _bitmap = new ulong[log.BitmapWords];
        log.Start();
        memory.Read(0, _copy);
    }

    /// <summary>Pages copied since the start.</summary>
    public long Copied { get; private set; }

    /// <summary>Copies what was written since the last time. Returns which pages that were, in ascending order.</summary>
    public List<ulong> Update()
    {
        List<ulong> pages = [];
        long count = _log.Collect(_bitmap);
        for (int word = 0; word < _bitmap.Length; word++)
        {
            for (ulong rest = _bitmap[word]; rest != 0; rest &= rest - 1)
            {
                ulong gpa = (ulong)((word * 64) + BitOperations.TrailingZeroCount(rest)) << 12;
                _memory.Read(gpa, _copy.AsSpan((int)gpa, 4096));
                pages.Add(gpa);
            }
        }

        Assert.Equal(count, pages.Count);
        Copied += count;
        return pages;
    }

    /// <summary>Copies again and again while threads run, then once more, and fails if a byte differs.</summary>
    public void Follow(params Thread[] threads)
    {
        while (Array.Exists(threads, t => t.IsAlive))
        {
            Update();
            Thread.Yield();
        }

        Update();
        Check();
    }

    /// <summary>Fails if a byte of the copy differs.</summary>
    public void Check()
    {
        byte[] now = new byte[_copy.Length];
        _memory.Read(0, now);
        int same = now.AsSpan().CommonPrefixLength(_copy);
        Assert.True(same == now.Length, $"the copy differs at {same:X}");
    }
}
