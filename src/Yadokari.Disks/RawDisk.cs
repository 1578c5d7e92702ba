using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;

namespace Yadokari.Disks;

/// <summary>
/// A raw disk image: a file or block device whose bytes are the disk's. Opened for writing, it is locked exclusively, also against other
/// processes, until it is disposed of.
/// </summary>
public sealed class RawDisk : IDisk, ISparse, IExtentDisk
{
    private static readonly byte[] s_zeroes = new byte[64 << 10];

    private readonly IImageFile _file;

    private RawDisk(string path, IImageFile file, long length, bool readOnly)
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
    /// <param name="unit">Its length must be a multiple of this number of bytes.</param>
    /// <param name="what">Its name in messages.</param>
    /// <exception cref="UserErrorException">It is missing, locked, unreadable or of no fitting length.</exception>
    public static RawDisk Open(string path, bool readOnly, int unit, string what = DiskImage.Disk) =>
        Of(path, HostFile.Open(path, readOnly, what), readOnly, unit, what);

    /// <summary>Takes over an open file; closes it if it is no valid disk.</summary>
    /// <exception cref="UserErrorException">It is of no fitting length.</exception>
    internal static RawDisk Of(string path, HostFile file, bool readOnly, int unit, string what)
    {
        long length = file.Length;
        if (length == 0 || length % unit != 0)
        {
            file.Dispose();
            throw new UserErrorException(length == 0
                ? $"The {what} '{path}' is empty: give a raw image, or make one with 'yado disk create'."
                : $"The {what} '{path}' has {length} bytes, which is no multiple of {unit}: give a raw image.");
        }

        return new RawDisk(path, file, length, readOnly);
    }

    /// <inheritdoc/>
    public bool TryRead(long offset, Span<byte> data) => _file.TryRead(offset, data);

    /// <inheritdoc/>
    public bool TryWrite(long offset, ReadOnlySpan<byte> data) => _file.TryWrite(offset, data);

    /// <inheritdoc/>
    public bool TryRead(long offset, ReadOnlySpan<HostBuffer> pieces) => _file.TryRead(offset, pieces);

    /// <inheritdoc/>
    public bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces) => _file.TryWrite(offset, pieces);

    /// <inheritdoc/>
    public bool TryFlush() => _file.TryFlush();

    /// <inheritdoc/>
    public bool TryDiscard(long offset, long length)
    {
        // Without support of the file system the range stays allocated, which is valid for a discard.
        _ = _file.TryPunch(offset, length);
        return true;
    }

    /// <inheritdoc/>
    public bool TryWriteZeroes(long offset, long length, bool mayDiscard)
    {
        if ((mayDiscard && _file.TryPunch(offset, length)) || _file.TryZero(offset, length))
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
    public IDiskQueue OpenQueue(int depth) => _file.Handle is null ? new DirectDiskQueue(this) : FileDiskQueue.Open(this, depth);

    /// <inheritdoc/>
    SafeFileHandle? IExtentDisk.FlushedFile => _file.Handle;

    /// <inheritdoc/>
    bool IExtentDisk.TryMapExtent(long offset, long length, out FileExtent place)
    {
        if (_file.Handle is not { } file)
        {
            place = default;
            return false;
        }

        place = new FileExtent(file, offset);
        return true;
    }

    /// <inheritdoc/>
    void IExtentDisk.ReleaseExtent(int generation)
    {
    }

    /// <inheritdoc/>
    long ISparse.KnownZeroes(long offset) => _file.KnownZeroes(offset);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
