namespace Yadokari.Translation.Memory;

/// <summary>
/// FIFO queue of requests to one vCPU: <see cref="Coherence"/> posts them, the vCPU's thread takes and completes them. The posting thread waits
/// for completion only while the vCPU is inside guest code; a vCPU outside completes all requests before it enters guest code again.
/// </summary>
internal sealed class RequestQueue
{
    private readonly Lock _lock = new(); // Innermost.

    // Bounded: while the vCPU is inside, each posting thread waits, so there is at most one request for each thread. While it is outside, which
    // may be for hours, no thread waits, and duplicates are not added, so there are at most as many requests as pages.
    private readonly Queue<Request> _requests = new();

    // Requests in the queue that were posted while the vCPU was outside.
    private readonly HashSet<Request> _deferred = [];
    private long _posted;
    private long _completed;
    private volatile bool _inside;

    /// <summary>Number of requests not taken yet. Any thread.</summary>
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
    /// Adds a request. Any thread. Returns the number to pass to <see cref="IsCompleted"/> after notifying the vCPU, or 0 if the caller need not
    /// wait: the vCPU is outside guest code and completes the request before it enters.
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

            // A vCPU outside needs no request to park: it checks IsStoppedByAnother when it enters.
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

    /// <summary>Takes the oldest request; the caller must call <see cref="Complete"/> afterwards. On the vCPU's thread.</summary>
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

    /// <summary>Marks the request taken last as completed. On the vCPU's thread.</summary>
    public void Complete() => Volatile.Write(ref _completed, _completed + 1);

    /// <summary>The vCPU enters guest code, after it completed all requests: threads wait for requests posted from now on. On its thread.</summary>
    public void Enter()
    {
        lock (_lock)
        {
            _inside = true;
        }
    }

    /// <summary>The vCPU leaves guest code: no thread waits for it from now on. On its thread.</summary>
    public void Leave()
    {
        lock (_lock)
        {
            _inside = false;
        }
    }
}

/// <summary>Kinds of requests to a vCPU.</summary>
internal enum RequestKind
{
    /// <summary>Drop the write TLB entries for a page.</summary>
    StopWriting,

    /// <summary>Drop all write TLB entries.</summary>
    StopAllWriting,

    /// <summary>Drop code that was translated from bytes that changed.</summary>
    DropCode,

    /// <summary>Park while another vCPU has stopped the world (<see cref="Coherence.IsStoppedByAnother"/>).</summary>
    Park,
}

/// <summary>A request to a vCPU.</summary>
/// <param name="Kind">The action.</param>
/// <param name="Gpa">Guest physical address of the bytes it concerns.</param>
/// <param name="Length">Their number, within one page.</param>
internal readonly record struct Request(RequestKind Kind, ulong Gpa, int Length)
{
    /// <summary>The same request for the whole page.</summary>
    public Request OfPage => new(Kind, Gpa & ~0xFFFul, 4096);
}
