namespace Yadokari.Translation.Memory;

/// <summary>
/// Requests posted to one vCPU, in order: <see cref="Coherence"/> posts, the vCPU's thread takes and completes them. Whoever posts waits
/// for completion only while the vCPU is inside guest code; a vCPU outside completes all of them before it enters guest code again.
/// </summary>
internal sealed class RequestQueue
{
    private readonly Lock _lock = new(); // Innermost.

    // While the vCPU is inside, each is waited for: no more of them than there are threads that post. While it is outside, which may be for
    // hours, nobody waits, and what is there already is not added again: no more of them than there are pages.
    private readonly Queue<Request> _requests = new();

    // Those in the queue that were posted while the vCPU was outside.
    private readonly HashSet<Request> _deferred = [];
    private long _posted;
    private long _completed;
    private volatile bool _inside;

    /// <summary>Requests not taken yet. Any thread.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _requests.Count;
            }
        }
    }

    /// <summary>
    /// Adds a request. Any thread. Returns the number to give to <see cref="IsCompleted"/> after the vCPU was notified, or 0 if there is
    /// nothing to wait for: the vCPU is outside guest code, and does what was asked before it enters any.
    /// </summary>
    public long Post(in Request request)
    {
        lock (_lock)
        {
            if (_inside)
            {
                _requests.Enqueue(request);
                return ++_posted;
            }

            // A vCPU outside is parked already: whether it must stay so is seen when it enters.
            if (request.Kind != RequestKind.Park && _deferred.Add(request.OfPage))
            {
                _requests.Enqueue(request.OfPage);
                _posted++;
            }

            return 0;
        }
    }

    /// <summary>Whether a request has been completed, or will be before the vCPU enters guest code. Any thread.</summary>
    public bool IsCompleted(long number) => Volatile.Read(ref _completed) >= number || !_inside;

    /// <summary>Takes the oldest request; <see cref="Complete"/> is to follow. On the vCPU's thread.</summary>
    public bool TryTake(out Request request)
    {
        if (Volatile.Read(ref _completed) == Volatile.Read(ref _posted))
        {
            request = default;
            return false;
        }

        lock (_lock)
        {
            request = _requests.Dequeue();
            _deferred.Remove(request);
        }

        return true;
    }

    /// <summary>What was taken last is done. On the vCPU's thread.</summary>
    public void Complete() => Volatile.Write(ref _completed, _completed + 1);

    /// <summary>The vCPU enters guest code, once it has completed what is here: requests posted from now on are waited for.</summary>
    public void Enter()
    {
        lock (_lock)
        {
            _inside = true;
        }
    }

    /// <summary>The vCPU leaves guest code: nobody waits for it any more.</summary>
    public void Leave()
    {
        lock (_lock)
        {
            _inside = false;
        }
    }
}

/// <summary>What is asked of a vCPU.</summary>
internal enum RequestKind
{
    /// <summary>To forget the TLB entries by which a page can be written.</summary>
    StopWriting,

    /// <summary>The same for all pages.</summary>
    StopAllWriting,

    /// <summary>To drop code that was made of bytes that changed.</summary>
    DropCode,

    /// <summary>To park while the vCPU that asked has stopped the world: <see cref="Coherence.IsStoppedByAnother"/>.</summary>
    Park,
}

/// <summary>One thing asked.</summary>
internal readonly record struct Request(RequestKind Kind, ulong Gpa, int Length)
{
    /// <summary>The same for the whole page.</summary>
    public Request OfPage => new(Kind, Gpa & ~0xFFFul, 4096);
}
