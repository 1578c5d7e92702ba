using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Disks;

/// <summary>A file or block device of the host's. Who may write it has it alone, also among processes that keep to flock(2).</summary>
internal sealed class HostFile : IImageFile
{
    private readonly SafeFileHandle _file;
    private readonly bool _lasting;
    private long _length;

    private HostFile(SafeFileHandle file, bool lasting)
    {
        _file = file;
        _lasting = lasting;
        Handle = FileVectors.KnowsWhatIsCached(file) ? file : null;
        _length = RandomAccess.GetLength(file);
    }

    /// <inheritdoc/>
    public long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public SafeFileHandle? Handle { get; }

    /// <summary>Whether it can grow, which devices can't.</summary>
    public bool CanGrow => FileStatus.Of(_file, out FileStatus status) == 0 && status.Type == FileTree.Regular;

    /// <summary>Bytes that it takes of the host's disk.</summary>
    public long Allocated => FileRange.Allocated(_file);

    /// <summary>Opens a file that exists.</summary>
    /// <param name="path">The file.</param>
    /// <param name="readOnly">Not to be written.</param>
    /// <exception cref="UserErrorException">It is missing, a folder, locked or unreadable.</exception>
    public static HostFile Open(string path, bool readOnly)
    {
        if (Directory.Exists(path))
        {
            throw new UserErrorException($"The disk '{path}' is a directory; name an image file.");
        }

        try
        {
            // Others may read what only is read here; what is written here is nobody else's.
            FileAccess access = readOnly ? FileAccess.Read : FileAccess.ReadWrite;
            return new HostFile(File.OpenHandle(path, FileMode.Open, access, readOnly ? FileShare.Read : FileShare.None), lasting: true);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UserErrorException($"The disk '{path}' does not exist; check the path.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw new UserErrorException($"The disk '{path}' can't be opened ({e.Message.TrimEnd('.')}); check that nobody else uses it and its permissions.");
        }
    }

    /// <summary>Makes a file.</summary>
    /// <exception cref="UserErrorException">It exists, or can't be made.</exception>
    public static HostFile Create(string path)
    {
        try
        {
            return new HostFile(File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None), lasting: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw new UserErrorException($"The image '{path}' can't be made ({e.Message.TrimEnd('.')}); choose a folder that exists and that you may write.");
        }
    }

    /// <summary>Makes a file without a name, which is gone when it is closed, however that comes to pass; it need not outlive the host.</summary>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public static HostFile CreateScratch()
    {
        string path = Path.Combine(Path.GetTempPath(), $"yado-{Guid.NewGuid():n}");
        try
        {
            var file = new HostFile(File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None), lasting: false);
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
        if (!_lasting)
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
    public void Dispose() => _file.Dispose();

    // A writer beyond the end may be one of several.
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
