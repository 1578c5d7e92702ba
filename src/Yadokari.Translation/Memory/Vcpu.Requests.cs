using Yadokari.Translation.Memory;

namespace Yadokari.Translation;

/// <summary>What other vCPUs ask of this one: <see cref="Coherence"/>.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Requests to this vCPU. After a post that is to be waited for, <see cref="Notify"/>.</summary>
    internal RequestQueue Requests { get; } = new();

    /// <summary>Whether translated code, or a page watched, depends on bytes of guest memory. Any thread.</summary>
    internal bool DependsOn(ulong gpa, int length) => _code.Covers(gpa, length);

    /// <summary>
    /// Does what was asked, and parks while another vCPU has stopped the world, which may go on asking. On this vCPU's thread, not within
    /// guest code.
    /// </summary>
    internal void ParkWhileStopped()
    {
        SpinWait wait = default;
        while (true)
        {
            while (Requests.TryTake(out Request request))
            {
                Answer(request);
                Requests.Complete();
            }

            if (!_coherence.IsStoppedByAnother(this))
            {
                return;
            }

            wait.SpinOnce(Coherence.SpinsBeforeSleep);
        }
    }

    private void Answer(in Request request)
    {
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
    }

    private void ComeInside()
    {
        Requests.Enter();
        ParkWhileStopped();
    }
}
