using Microsoft.Win32.SafeHandles;
using Yadokari.Core;

namespace Yadokari.Devices.Storage;

/// <summary>A raw disk image: a file or block device whose bytes are the disk's. One user at a time; stays open until disposed of.</summary>
public sealed class DiskImage : IDisposable
{
    private readonly SafeFileHandle _file;

    private DiskImage(string path, SafeFileHandle file, long length, bool readOnly)
    {
        Path = path;
        _file = file;
        Length = length;
        ReadOnly = readOnly;
    }

    /// <summary>What messages call it.</summary>
    public string Path { get; }

    /// <summary>Bytes.</summary>
    public long Length { get; }

    /// <summary>Whether writes are refused.</summary>
    public bool ReadOnly { get; }

    /// <summary>Opens an image.</summary>
    /// <param name="path">The file.</param>
    /// <param name="readOnly">Not to be written.</param>
    /// <param name="unit">What its length must be a multiple of, in bytes.</param>
    /// <exception cref="UserErrorException">It is missing, locked, unreadable or of no fitting length.</exception>
    public static DiskImage Open(string path, bool readOnly, int unit)
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

            var image = new DiskImage(path, file, length, readOnly);
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

    /// <summary>Reads within the disk. False if the host could not.</summary>
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

    /// <summary>Writes within the disk. False if the host could not, as where its disk is full.</summary>
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

    /// <summary>Has the host put what was written on its disk. False if it could not.</summary>
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
    public void Dispose() => _file.Dispose();
}
