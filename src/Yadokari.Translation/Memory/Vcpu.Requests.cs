using Yadokari.Translation.Memory;

namespace Yadokari.Translation;

/// <summary>What other vCPUs ask of this one: <see cref="Coherence"/>.</summary>
internal sealed unsafe partial class Vcpu
{
    private readonly Lock _requestLock = new(); // Innermost.

    // While this vCPU is inside, each is waited for: no more of them than there are threads that ask. While it is outside, which may be for
    // hours, nobody waits, and what is there already is not added again: no more of them than there are pages.
    private readonly Queue<Request> _requests = new();

    // Those in the queue that were added while this vCPU was outside.
    private readonly HashSet<Request> _deferred = [];
    private long _asked;
    private long _answered;
    private volatile bool _inside;

    /// <summary>Requests that wait until this vCPU runs guest code again. Any thread.</summary>
    internal int RequestsWaiting
    {
        get
        {
            lock (_requestLock)
            {
                return _requests.Count;
            }
        }
    }

    /// <summary>
    /// Asks something. Any thread. Returns the number to give to <see cref="HasAnswered"/>, or 0 if there is nothing to wait for: this vCPU
    /// is outside guest code, and does what was asked before it runs any.
    /// </summary>
    internal long Post(in Request request)
    {
        long number;
        lock (_requestLock)
        {
            if (!_inside)
            {
                // Whether it has to wait for another is seen when it comes inside.
                if (request.Kind != RequestKind.Wait && _deferred.Add(request.OfPage))
                {
                    _requests.Enqueue(request.OfPage);
                    _asked++;
                }

                return 0;
            }

            _requests.Enqueue(request);
            number = ++_asked;
        }

        Notify();
        return number;
    }

    /// <summary>Whether something asked has been done, or will be before this vCPU runs guest code again. Any thread.</summary>
    internal bool HasAnswered(long number) => Volatile.Read(ref _answered) >= number || !_inside;

    /// <summary>Whether translated code, or a page watched, depends on bytes of guest memory. Any thread.</summary>
    internal bool DependsOn(ulong gpa, int length) => _code.Covers(gpa, length);

    /// <summary>
    /// Does what was asked, and waits while another vCPU runs alone, which may go on asking. On this vCPU's thread, not within guest code.
    /// </summary>
    internal void Answer()
    {
        SpinWait wait = default;
        while (true)
        {
            while (Volatile.Read(ref _answered) != Volatile.Read(ref _asked))
            {
                AnswerOne();
            }

            if (!_coherence.IsAnotherAlone(this))
            {
                return;
            }

            wait.SpinOnce(Coherence.SpinsBeforeSleep);
        }
    }

    private void AnswerOne()
    {
        Request request;
        lock (_requestLock)
        {
            request = _requests.Dequeue();
            _deferred.Remove(request);
        }

        switch (request.Kind)
        {
            case RequestKind.StopWriting:
                StopWriting(request.Gpa);
                break;
            case RequestKind.StopAllWriting:
                StopWriting();
                break;
            case RequestKind.DropCode:
                _code.Written(request.Gpa, request.Length);
                break;
        }

        Volatile.Write(ref _answered, _answered + 1);
    }

    private void ComeInside()
    {
        lock (_requestLock)
        {
            _inside = true;
        }

        Answer();
    }

    private void GoOutside()
    {
        lock (_requestLock)
        {
            _inside = false;
        }
    }
}
