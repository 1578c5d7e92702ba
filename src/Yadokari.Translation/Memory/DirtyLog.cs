using Yadokari.Core.Engines;
using Yadokari.Core.Memory;

namespace Yadokari.Translation.Memory;

/// <summary>
/// The dirty log of a machine. A page is marked dirty when a vCPU gets write access to it: by a write TLB entry, or by a writable mapping of a process
/// of direct execution. <see cref="Collect"/> takes the marks first and then revokes all write access, so that a later write marks its page again.
/// <see cref="GuestMemory"/> marks pages that are written in other ways.
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
