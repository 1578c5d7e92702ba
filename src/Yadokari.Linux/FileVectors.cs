using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core.Memory;

namespace Yadokari.Linux;

/// <summary>Vectored reads and writes (preadv(2), pwritev(2)).</summary>
public static unsafe partial class FileVectors
{
    // limits.h: IOV_MAX
    private const int MaxVectors = 1024;
    private const int Interrupted = 4;
    private const int TryAgain = 11;

    // linux/fs.h: RWF_NOWAIT, RWF_APPEND
    private const int NoWaitFlag = 8;
    private const int AppendFlag = 0x10;

    /// <summary>Fills all of the pieces. False on an error, or if the file ends before.</summary>
    public static bool TryRead(SafeFileHandle file, long offset, ReadOnlySpan<HostBuffer> pieces) => TryAll(file, offset, pieces, write: false);

    /// <summary>Writes all of the pieces. False on an error.</summary>
    public static bool TryWrite(SafeFileHandle file, long offset, ReadOnlySpan<HostBuffer> pieces) => TryAll(file, offset, pieces, write: true);

    /// <summary>Reads into pieces up to the file's end. Returns the count of bytes, or a negated errno if there are none.</summary>
    public static long Read(SafeFileHandle file, long offset, ReadOnlySpan<HostBuffer> pieces) => Move(file, offset, pieces, write: false, 0);

    /// <summary>
    /// Reads into buffers from the page cache without waiting for a disk (RWF_NOWAIT). Returns the number of bytes, or a negated errno if there
    /// are none.
    /// </summary>
    public static long ReadCached(SafeFileHandle file, long offset, ReadOnlySpan<HostBuffer> pieces) => Move(file, offset, pieces, write: false, NoWaitFlag);

    /// <summary>Whether the file's file system supports <see cref="ReadCached"/>.</summary>
    public static bool KnowsWhatIsCached(SafeFileHandle file)
    {
        byte first;
        var piece = new HostBuffer((nint)(&first), 1); // SAFETY: lives until the read is back.
        return ReadCached(file, 0, new ReadOnlySpan<HostBuffer>(in piece)) is >= 0 or -TryAgain;
    }

    /// <summary>Writes from pieces. Returns the count of bytes, or a negated errno if none was written.</summary>
    /// <param name="file">Open for writing, not for appending.</param>
    /// <param name="offset">The offset in the file; ignored when appending.</param>
    /// <param name="pieces">The data.</param>
    /// <param name="append">Whether to write at the file's current end.</param>
    public static long Write(SafeFileHandle file, long offset, ReadOnlySpan<HostBuffer> pieces, bool append) =>
        Move(file, offset, pieces, write: true, append ? AppendFlag : 0);

    private static long Move(SafeFileHandle file, long offset, ReadOnlySpan<HostBuffer> pieces, bool write, int flags)
    {
        long done = 0;
        while (!pieces.IsEmpty)
        {
            ReadOnlySpan<HostBuffer> part = pieces[..Math.Min(pieces.Length, MaxVectors)];
            long whole = 0;
            foreach (HostBuffer piece in part)
            {
                whole += piece.Length;
            }

            nint moved;

            // SAFETY: HostBuffer is laid out as iovec; the kernel reads that array alone, and moves bytes within the pieces it names.
            fixed (HostBuffer* vector = part)
            {
                moved = (write, flags) switch
                {
                    (false, 0) => Readv(file, vector, part.Length, offset),
                    (false, _) => Readv2(file, vector, part.Length, offset, flags),
                    (true, 0) => Writev(file, vector, part.Length, offset),
                    (true, _) => Writev2(file, vector, part.Length, offset, flags),
                };
            }

            if (moved < 0)
            {
                int error = Marshal.GetLastPInvokeError();
                if (error == Interrupted)
                {
                    continue;
                }

                return done > 0 ? done : -error;
            }

            done += moved;
            offset += moved;
            if (moved < whole)
            {
                break;
            }

            pieces = pieces[part.Length..];
        }

        return done;
    }

    /// <summary>Calls an action with managed bytes as a <see cref="HostBuffer"/>; they are pinned during the call.</summary>
    public static bool Pinned<T>(ReadOnlySpan<byte> bytes, T state, Func<HostBuffer, T, bool> action)
    {
        // SAFETY: pinned until the action is back, which keeps no piece.
        fixed (byte* first = bytes)
        {
            return action(new HostBuffer((nint)first, bytes.Length), state);
        }
    }

    private static bool TryAll(SafeFileHandle file, long offset, ReadOnlySpan<HostBuffer> pieces, bool write)
    {
        Span<HostBuffer> rest = stackalloc HostBuffer[Math.Min(pieces.Length, MaxVectors)];
        while (!pieces.IsEmpty)
        {
            int count = Math.Min(pieces.Length, MaxVectors);
            pieces[..count].CopyTo(rest);
            for (int done = 0; done < count;)
            {
                nint moved;

                // SAFETY: HostBuffer is laid out as iovec; the kernel reads that array alone, and moves bytes within the pieces it names.
                fixed (HostBuffer* vector = rest)
                {
                    moved = write ? Writev(file, vector + done, count - done, offset) : Readv(file, vector + done, count - done, offset);
                }

                if (moved < 0 && Marshal.GetLastPInvokeError() == Interrupted)
                {
                    continue;
                }

                if (moved <= 0)
                {
                    return false;
                }

                offset += moved;
                while (done < count && moved >= rest[done].Length)
                {
                    moved -= rest[done++].Length;
                }

                if (moved > 0)
                {
                    rest[done] = new HostBuffer(rest[done].Address + moved, rest[done].Length - moved);
                }
            }

            pieces = pieces[count..];
        }

        return true;
    }

    [LibraryImport("libc", EntryPoint = "preadv", SetLastError = true)]
    private static partial nint Readv(SafeFileHandle file, HostBuffer* vector, int count, long offset);

    [LibraryImport("libc", EntryPoint = "pwritev", SetLastError = true)]
    private static partial nint Writev(SafeFileHandle file, HostBuffer* vector, int count, long offset);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    private static partial nint Readv2(SafeFileHandle file, HostBuffer* vector, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "pwritev2", SetLastError = true)]
    private static partial nint Writev2(SafeFileHandle file, HostBuffer* vector, int count, long offset, int flags);
}
