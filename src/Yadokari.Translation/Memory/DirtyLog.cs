using Yadokari.Core.Engines;
using Yadokari.Core.Memory;

namespace Yadokari.Translation.Memory;

/// <summary>
/// The dirty log of a machine. A page is noted when a vCPU is given leave to write it without asking, by an entry of its TLB or in a process
/// that runs a program directly; what was noted is taken first and all that leave then revoked, so that later writes ask anew. What is
/// written otherwise <see cref="GuestMemory"/> notes itself.
/// </summary>
internal sealed class DirtyLog(DirtyPages pages, Coherence coherence) : IDirtyLog
{
    /// <inheritdoc/>
    public int BitmapWords => pages.Words;

    /// <inheritdoc/>
    public void Start()
    {
        if (!pages.IsNoted)
        {
            pages.Start();
            coherence.StopWriting();
        }
    }

    /// <inheritdoc/>
    public long Collect(Span<ulong> bitmap)
    {
        if (!pages.IsNoted)
        {
            throw new InvalidOperationException("The dirty log is off: start it first.");
        }

        if (bitmap.Length < pages.Words)
        {
            throw new ArgumentException($"A bitmap of {bitmap.Length} words is too short: give {pages.Words}.", nameof(bitmap));
        }

        long count = pages.Take(bitmap);
        coherence.StopWriting();
        return count;
    }

    /// <inheritdoc/>
    public void Stop() => pages.Stop();
}
