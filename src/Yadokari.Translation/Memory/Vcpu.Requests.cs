using Yadokari.Translation.Memory;

namespace Yadokari.Translation;

/// <summary>What other vCPUs ask of this one: <see cref="Coherence"/>.</summary>
internal sealed unsafe partial class Vcpu
{
    private readonly Lock _requestLock = new(); // Innermost.
    private readonly Queue<Request> _requests = new();
    private long _asked;
    private long _answered;
    private volatile bool _inside;

    /// <summary>Asks something. Any thread. Returns the number to give to <see cref="HasAnswered"/>.</summary>
    internal long Post(in Request request)
    {
        long number;
        bool inside;
        lock (_requestLock)
        {
            _requests.Enqueue(request);
            number = ++_asked;
            inside = _inside;
        }

        if (inside)
        {
            Notify();
        }

        return number;
    }

    /// <summary>Whether something asked has been done, or will be before this vCPU runs guest code again. Any thread.</summary>
    internal bool HasAnswered(long number) => Volatile.Read(ref _answered) >= number || !_inside;

    /// <summary>Whether translated code, or a page watched, depends on bytes of guest memory. Any thread.</summary>
    internal bool DependsOn(ulong gpa, int length) => _code.Covers(gpa, length);

    /// <summary>Does what was asked. On this vCPU's thread, not within guest code.</summary>
    internal void Answer()
    {
        while (Volatile.Read(ref _answered) != Volatile.Read(ref _asked))
        {
            Request request;
            lock (_requestLock)
            {
                request = _requests.Dequeue();
            }

            switch (request.Kind)
            {
                case RequestKind.StopWriting:
                    StopWriting(request.Gpa);
                    break;
                case RequestKind.DropCode:
                    _code.Written(request.Gpa, request.Length);
                    break;
            }

            Volatile.Write(ref _answered, _answered + 1);
            if (request.Kind == RequestKind.Stand)
            {
                StandAside();
            }
        }
    }

    // Whoever is alone may still ask.
    private void StandAside()
    {
        SpinWait wait = default;
        while (_coherence.IsAlone)
        {
            Answer();
            wait.SpinOnce(sleep1Threshold: -1);
        }
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
