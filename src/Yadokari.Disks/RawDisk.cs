using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Disks;

/// <summary>
/// A raw disk image: a file or block device whose bytes are the disk's. Who may write it has it alone, also among processes; stays open until
/// disposed of.
/// </summary>
public sealed class RawDisk : IDisk
{
    private static readonly byte[] s_zeroes = new byte[64 << 10];

    private readonly SafeFileHandle _file;

    private RawDisk(string path, SafeFileHandle file, long length, bool readOnly)
    {
        Path = path;
        _file = file;
        Length = length;
        ReadOnly = readOnly;
    }

    /// <inheritdoc/>
    public string Path { get; }

    /// <inheritdoc/>
    public long Length { get; }

    /// <inheritdoc/>
    public bool ReadOnly { get; }

    /// <summary>Opens an image.</summary>
    /// <param name="path">The file.</param>
    /// <param name="readOnly">Not to be written.</param>
    /// <param name="unit">What its length must be a multiple of, in bytes.</param>
    /// <exception cref="UserErrorException">It is missing, locked, unreadable or of no fitting length.</exception>
    public static RawDisk Open(string path, bool readOnly, int unit)
    {
        SafeFileHandle? file = null;
        try
        {
            if (Directory.Exists(path))
            {
                throw new UserErrorException($"The disk '{path}' is a directory; name an image file.");
            }

            // Others may read what only is read here; what is written here is nobody else's.
            file = File.OpenHandle(path, FileMode.Open, readOnly ? FileAccess.Read : FileAccess.ReadWrite, readOnly ? FileShare.Read : FileShare.None);
            long length = RandomAccess.GetLength(file);
            if (length == 0 || length % unit != 0)
            {
                throw new UserErrorException($"The disk '{path}' has {length} bytes, which is no multiple of {unit}: give a raw image.");
            }

            var image = new RawDisk(path, file, length, readOnly);
            file = null;
            return image;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UserErrorException($"The disk '{path}' does not exist; check the path.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new UserErrorException($"The disk '{path}' can't be opened ({e.Message.TrimEnd('.')}); check that nobody else uses it and its permissions.");
        }
        finally
        {
            file?.Dispose();
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
    public bool TryWrite(long offset, ReadOnlySpan<byte> data)
    {
        try
        {
            RandomAccess.Write(_file, data, offset);
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
    public bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces) => FileVectors.TryWrite(_file, offset, pieces);

    /// <inheritdoc/>
    public bool TryFlush()
    {
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
    public bool TryDiscard(long offset, long length)
    {
        // A file system that can't keeps the room: the guest loses nothing.
        _ = FileRange.TryPunch(_file, offset, length);
        return true;
    }

    /// <inheritdoc/>
    public bool TryWriteZeroes(long offset, long length, bool mayDiscard)
    {
        if ((mayDiscard && FileRange.TryPunch(_file, offset, length)) || FileRange.TryZero(_file, offset, length))
        {
            return true;
        }

        ReadOnlySpan<byte> zeroes = s_zeroes;
        while (length > 0)
        {
            int piece = (int)Math.Min(length, zeroes.Length);
            if (!TryWrite(offset, zeroes[..piece]))
            {
                return false;
            }

            offset += piece;
            length -= piece;
        }

        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
