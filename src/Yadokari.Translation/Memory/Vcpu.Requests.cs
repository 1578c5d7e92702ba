using Yadokari.Translation.Memory;

namespace Yadokari.Translation;

/// <summary>What other vCPUs ask of this one, and writes that concern them: <see cref="Coherence"/>.</summary>
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

    /// <summary>Writes RAM that holds translated code, dropping what no longer holds.</summary>
    internal void WriteCodePage(ulong gpa, ReadOnlySpan<byte> data)
    {
        _code.Written(gpa, data.Length);
        _memory.Write(gpa, data);
        _coherence.Written(this, gpa, data.Length);
    }

    /// <inheritdoc/>
    public void MemoryWritten(ulong gpa, ulong length)
    {
        _memory.Written(gpa, length);
        while (length > 0)
        {
            int piece = (int)Math.Min(length, 4096 - (gpa & 4095));
            _code.Written(gpa, piece);
            _coherence.Written(this, gpa, piece);
            gpa += (ulong)piece;
            length -= (ulong)piece;
        }
    }

    /// <summary>Whether writes to a page must ask: some vCPU has code there.</summary>
    internal bool IsCode(ulong gpa) => _coherence.IsCode(gpa);

    /// <summary>To be asked before a page is entered as one to write without asking: the answer may have changed since <see cref="IsCode"/>.</summary>
    internal bool MayWrite(ulong gpa) => _coherence.MayWrite(this, gpa);

    // A page holds code from now on: no vCPU's write entry may reach it.
    private void BecomesCode(ulong gpa)
    {
        StopWriting(gpa);
        _coherence.BecomesCode(this, gpa);
    }

    // No page is to be written without asking from now on.
    private void StopWriting()
    {
        Direct?.StopWriting();
        _tlb.DropWriteEntries();
    }

    private void StopWriting(ulong gpa)
    {
        Direct?.StopWriting(gpa);
        _tlb.DropWriteEntries(gpa);
        _coherence.StoppedWriting(this, gpa);
    }
}
