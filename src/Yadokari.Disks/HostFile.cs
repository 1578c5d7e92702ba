using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Disks;

/// <summary>A file or block device of the host. Opened for writing, it is locked exclusively (flock(2)), also against other processes that use flock.</summary>
internal sealed class HostFile : IImageFile
{
    // A process that was killed has its locks until its memory is torn down, which for a large guest takes a second.
    private static readonly TimeSpan s_lockTimeout = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(20);

    private readonly SafeFileHandle _file;
    private readonly Lazy<SafeFileHandle?> _unlocked;
    private readonly bool _kept;
    private long _length;

    private HostFile(SafeFileHandle file, bool kept)
    {
        _file = file;
        _kept = kept;
        _unlocked = new Lazy<SafeFileHandle?>(() =>
            FileVectors.KnowsWhatIsCached(file) && FileTree.OpenAgain(file, out SafeFileHandle again) == 0 ? again : null);
        _length = RandomAccess.GetLength(file);
    }

    /// <inheritdoc/>
    public long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    /// <remarks>
    /// A second open file description, without the lock, for io_uring: after the process has ended the kernel keeps the files of requests in flight
    /// open for some time, seconds on a slow disk, and a lock on them would make the next open of the image fail.
    /// </remarks>
    public SafeFileHandle? Handle => _unlocked.Value;

    /// <summary>Whether it can grow: block devices can't.</summary>
    public bool CanGrow => FileStatus.Of(_file, out FileStatus status) == 0 && status.Type == FileTree.Regular;

    /// <summary>Bytes allocated on the host's disk.</summary>
    public long Allocated => FileRange.Allocated(_file);

    /// <summary>Opens a file that exists.</summary>
    /// <param name="path">The file.</param>
    /// <param name="readOnly">Not to be written.</param>
    /// <param name="what">Its name in messages.</param>
    /// <exception cref="UserErrorException">It is missing, a folder, locked or unreadable.</exception>
    public static HostFile Open(string path, bool readOnly, string what = DiskImage.Disk)
    {
        if (Directory.Exists(path))
        {
            throw new UserErrorException($"The {what} '{path}' is a directory; name an image file.");
        }

        try
        {
            return new HostFile(OpenLocked(path, readOnly), kept: true);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UserErrorException($"The {what} '{path}' does not exist; check the path.");
        }
        catch (IOException e) when (e.HResult == Errno.WouldBlock)
        {
            throw new UserErrorException($"The {what} '{path}' is in use by another machine or program, and what may write an image has it alone: end that first, or give a copy.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw new UserErrorException($"The {what} '{path}' can't be opened ({e.Message.TrimEnd('.')}): check its permissions.");
        }
    }

    /// <summary>Makes a file.</summary>
    /// <exception cref="UserErrorException">It exists, or can't be made.</exception>
    public static HostFile Create(string path)
    {
        try
        {
            return new HostFile(File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None), kept: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw new UserErrorException($"The image '{path}' can't be made ({e.Message.TrimEnd('.')}); choose a folder that exists and that you may write.");
        }
    }

    /// <summary>Creates a temporary file and unlinks it at once: the kernel frees it when it is closed or the process ends, however that happens. It is never flushed.</summary>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public static HostFile CreateScratch()
    {
        string path = Path.Combine(Path.GetTempPath(), $"yado-{Guid.NewGuid():n}");
        try
        {
            var file = new HostFile(File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None), kept: false);
            File.Delete(path);
            return file;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"No file for a snapshot can be made in '{Path.GetTempPath()}' ({e.Message.TrimEnd('.')}); set TMPDIR to a folder that you may write.");
        }
    }

    /// <inheritdoc/>
    public bool TryRead(long offset, Span<byte> data)
    {
        try
        {
            while (!data.IsEmpty)
            {
                int read = RandomAccess.Read(_file, data, offset);
                if (read == 0)
                {
                    return false;
                }

                data = data[read..];
                offset += read;
            }

            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public bool TryRead(long offset, ReadOnlySpan<HostBuffer> pieces) => FileVectors.TryRead(_file, offset, pieces);

    /// <inheritdoc/>
    public bool TryWrite(long offset, ReadOnlySpan<byte> data)
    {
        try
        {
            RandomAccess.Write(_file, data, offset);
            Grown(offset + data.Length);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces)
    {
        if (!FileVectors.TryWrite(_file, offset, pieces))
        {
            return false;
        }

        foreach (HostBuffer piece in pieces)
        {
            offset += piece.Length;
        }

        Grown(offset);
        return true;
    }

    /// <inheritdoc/>
    public bool TrySetLength(long length)
    {
        try
        {
            RandomAccess.SetLength(_file, length);
            Volatile.Write(ref _length, length);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public bool TryFlush()
    {
        if (!_kept)
        {
            return true;
        }

        try
        {
            RandomAccess.FlushToDisk(_file);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public bool TryPunch(long offset, long length) => FileRange.TryPunch(_file, offset, length);

    /// <inheritdoc/>
    public bool TryZero(long offset, long length) => FileRange.TryZero(_file, offset, length);

    /// <inheritdoc/>
    public long KnownZeroes(long offset) => offset < Length ? FileRange.Hole(_file, offset, Length) : 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_unlocked.IsValueCreated)
        {
            _unlocked.Value?.Dispose();
        }

        _file.Dispose();
    }

    // A shared lock for reading, an exclusive one for writing. Retries for a while: a process that holds the lock may be about to end.
    private static SafeFileHandle OpenLocked(string path, bool readOnly)
    {
        (FileAccess access, FileShare share) = readOnly ? (FileAccess.Read, FileShare.Read) : (FileAccess.ReadWrite, FileShare.None);
        long began = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                return File.OpenHandle(path, FileMode.Open, access, share);
            }
            catch (IOException e) when (e.HResult == Errno.WouldBlock && Stopwatch.GetElapsedTime(began) < s_lockTimeout)
            {
                Thread.Sleep(s_pause);
            }
        }
    }

    // Several writers may extend the file at once.
    private void Grown(long end)
    {
        for (long length = Length; length < end;)
        {
            long seen = Interlocked.CompareExchange(ref _length, end, length);
            if (seen == length)
            {
                return;
            }

            length = seen;
        }
    }
}
