using Yadokari.Translation.Memory;

namespace Yadokari.Translation;

/// <summary>Requests of other vCPUs, and writes to pages of code (<see cref="Coherence"/>).</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Requests to this vCPU. The posting thread calls <see cref="Notify"/> before it waits.</summary>
    internal RequestQueue Requests { get; } = new();

    /// <summary>Whether translated code or a watched page depends on bytes of guest memory. Any thread.</summary>
    internal bool DependsOn(ulong gpa, int length) => _code.Covers(gpa, length);

    /// <summary>
    /// Completes all requests, and parks while another vCPU has stopped the world; that one may post more requests. On this vCPU's thread,
    /// outside guest code.
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

    private void EnterGuestCode()
    {
        Requests.Enter();
        ParkWhileStopped();
    }

    /// <summary>Writes to a page of code, and drops the code translated from the old bytes on all vCPUs.</summary>
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

    /// <summary>Whether any vCPU has code in a page, so that writes to it must take the slow path.</summary>
    internal bool IsCode(ulong gpa) => _coherence.IsCode(gpa);

    /// <summary>Registers this vCPU as a writer of a page; false if it holds code. Called before each fill of a write TLB entry.</summary>
    internal bool MayWrite(ulong gpa) => _coherence.MayWrite(this, gpa);

    // Handles TranslatedCode.PageBecomesCode: drops all write access to the page on all vCPUs.
    private void BecomesCode(ulong gpa)
    {
        StopWriting(gpa);
        _coherence.BecomesCode(this, gpa);
    }

    // Drops all write access of this vCPU.
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
