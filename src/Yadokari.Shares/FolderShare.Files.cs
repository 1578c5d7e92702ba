using Microsoft.Win32.SafeHandles;
using Yadokari.Core.Memory;
using Yadokari.Core.Shares;
using Yadokari.Linux;

namespace Yadokari.Shares;

/// <summary>Requests on open files and folders.</summary>
public sealed partial class FolderShare
{
    private const uint KeepCache = 2; // FOPEN_KEEP_CACHE
    private const uint OfCache = 1; // FUSE_WRITE_CACHE
    private const uint BytesOnly = 1; // FUSE_FSYNC_FDATASYNC

    // fallocate(2): KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE.
    private const uint AllocateModes = 1 | 2 | 16;
    private const int SeekData = 3;
    private const int SeekHole = 4;

    // Maximum length of one copy_file_range: bounds the time that other requests wait.
    private const long MaxCopied = 64 << 20;
    private const int EntrySize = 128;
    private const int FolderEntrySize = 24;

    private int OpenFile(in FuseMessage message, Span<byte> answer)
    {
        uint flags = message.UInt32(0);
        uint access = flags & FileTree.AccessMask;
        if (access > FileTree.ReadWrite)
        {
            return Error.Invalid;
        }

        if (_readOnly && access != 0)
        {
            return Error.ReadOnly;
        }

        int error = OpenNode(message.Node, flags, out SafeFileHandle? file);
        if (error != 0)
        {
            return error;
        }

        // FOPEN_KEEP_CACHE if the guest's page cache of the file is still valid.
        bool unchanged = FileStatus.Of(file!, out FileStatus status) == 0 && _nodes.IsUnchanged(message.Node, status);
        error = _files.Add(file!, null, out ulong handle);
        return error != 0 ? error : WriteOpen(answer, handle, unchanged ? KeepCache : 0);
    }

    // Only regular files: opening a FIFO would block, and a device node is the host's device.
    private int OpenNode(ulong id, uint flags, out SafeFileHandle? file)
    {
        file = null;
        int error = _nodes.Use(id, out Lease place);
        using (place)
        {
            return error != 0 ? error
                : place.Type == FileTree.Folder ? Error.IsFolder
                : place.Type != FileTree.Regular ? Error.NotPermitted
                : FileTree.Reopen(place.File, flags & (FileTree.AccessMask | FileTree.Synchronous), out file);
        }
    }

    // A file that the host has created in the meantime is opened, unless O_EXCL is set.
    private int Create(in FuseMessage message, Span<byte> answer)
    {
        int error = message.Name(16, out ReadOnlySpan<byte> name);
        uint flags = message.UInt32(0);
        if (error < 0 || (flags & FileTree.AccessMask) > FileTree.ReadWrite)
        {
            return error < 0 ? error : Error.Invalid;
        }

        error = UseFolder(message.Node, out Lease folder);
        if (error != 0)
        {
            return error;
        }

        using (folder)
        {
            uint mode = FileTree.Regular | (message.UInt32(4) & PermissionMask);
            error = FileTree.Create(folder.File, name, flags & (FileTree.AccessMask | FileTree.Synchronous), mode, out SafeFileHandle made);
            SafeFileHandle? file = made;
            FileStatus status = default;
            ulong id = 0;
            if (error == 0)
            {
                error = Adopt(message, folder.File, file, mode, out status);
                error = error == 0 ? _nodes.Add(message.Node, name, status, out id) : error;
            }
            else if (error == Error.Exists && (flags & FileTree.Exclusive) == 0)
            {
                error = OpenThere(message.Node, folder.File, name, flags, out status, out id, out file);
            }

            if (error != 0)
            {
                file?.Dispose();
                return error;
            }

            return AnswerCreated(answer, file!, id, status);
        }
    }

    // A file without a name, which the guest may give one later by a link (O_TMPFILE of open(2)). The name in the message means nothing.
    private int CreateUnnamed(in FuseMessage message, Span<byte> answer)
    {
        uint flags = message.UInt32(0);
        if ((flags & FileTree.AccessMask) is 0 or > FileTree.ReadWrite)
        {
            return Error.Invalid;
        }

        int error = UseFolder(message.Node, out Lease folder);
        if (error != 0)
        {
            return error;
        }

        using (folder)
        {
            uint mode = FileTree.Regular | (message.UInt32(4) & PermissionMask);
            error = FileTree.CreateUnnamed(folder.File, flags & (FileTree.AccessMask | FileTree.Synchronous | FileTree.Exclusive), mode, out SafeFileHandle file);
            if (error != 0)
            {
                return error;
            }

            ulong id = 0;
            if ((error = Adopt(message, folder.File, file, mode, out FileStatus status)) != 0 || (error = _nodes.AddUnnamed(message.Node, file, status, out id)) != 0)
            {
                file.Dispose();
                return error;
            }

            return AnswerCreated(answer, file, id, status);
        }
    }

    private int AnswerCreated(Span<byte> answer, SafeFileHandle file, ulong id, in FileStatus status)
    {
        int error = _files.Add(file, null, out ulong handle);
        if (error != 0)
        {
            _nodes.Forget(id, 1);
            return error;
        }

        var writer = new FuseWriter(answer);
        WriteEntry(ref writer, id, status);
        writer.UInt64(handle);
        writer.UInt64(0);
        return writer.Length;
    }

    private int OpenThere(ulong folderId, SafeFileHandle folder, ReadOnlySpan<byte> name, uint flags, out FileStatus status, out ulong id, out SafeFileHandle? file)
    {
        (id, file) = (0, null);
        int error = FileStatus.Of(folder, name, out status);
        if (error != 0 || (error = _nodes.Add(folderId, name, status, out id)) != 0)
        {
            return error;
        }

        error = OpenNode(id, flags, out file);
        if (error == 0 && (flags & FileTree.Truncate) != 0 && (error = FileTree.ResizeOpen(file!, 0)) == 0)
        {
            error = FileStatus.Of(file!, out status);
        }

        if (error != 0)
        {
            _nodes.Forget(id, 1);
        }

        return error;
    }

    private int OpenFolder(in FuseMessage message, Span<byte> answer)
    {
        int error = UseFolder(message.Node, out Lease place);
        using (place)
        {
            return error != 0 || (error = FileTree.Reopen(place.File, 0, out SafeFileHandle folder)) != 0
                || (error = _files.Add(folder, new FolderListing(), out ulong handle)) != 0 ? error
                : WriteOpen(answer, handle, 0);
        }
    }

    private static int WriteOpen(Span<byte> answer, ulong handle, uint flags)
    {
        var writer = new FuseWriter(answer);
        writer.UInt64(handle);
        writer.UInt32(flags);
        writer.UInt32(0);
        return writer.Length;
    }

    private int Read(in FuseMessage message, Span<HostBuffer> room, out long placed)
    {
        placed = 0;
        int error = _files.Use(message.UInt64(0), out Lease file, out FolderListing? listing);
        using (file)
        {
            if (error != 0 || listing is not null)
            {
                return error != 0 ? error : Error.IsFolder;
            }

            long read = FileVectors.Read(file.File, (long)message.UInt64(8), First(room, message.UInt32(16)));
            placed = Math.Max(read, 0);
            return (int)Math.Min(read, 0);
        }
    }

    private int Write(in FuseMessage message, Span<HostBuffer> data, Span<byte> answer)
    {
        uint size = message.UInt32(16);
        bool append = (message.UInt32(32) & FileTree.Append) != 0 && (message.UInt32(20) & OfCache) == 0;
        Span<HostBuffer> pieces = First(data, size);
        long given = 0;
        foreach (HostBuffer piece in pieces)
        {
            given += piece.Length;
        }

        if (given < size)
        {
            return Error.Invalid;
        }

        int error = _files.Use(message.UInt64(0), out Lease file);
        using (file)
        {
            if (error != 0)
            {
                return error;
            }

            long written = FileVectors.Write(file.File, (long)message.UInt64(8), pieces, append);
            return written < 0 ? (int)written : WriteCount(answer, written);
        }
    }

    private static int WriteCount(Span<byte> answer, long count)
    {
        var writer = new FuseWriter(answer);
        writer.UInt32((uint)count);
        writer.UInt32(0);
        return writer.Length;
    }

    // The buffers that hold the first bytes.
    private static Span<HostBuffer> First(Span<HostBuffer> pieces, long length)
    {
        int count = 0;
        while (length > 0 && count < pieces.Length)
        {
            ref HostBuffer piece = ref pieces[count++];
            piece = new HostBuffer(piece.Address, (nint)Math.Min(piece.Length, length));
            length -= piece.Length;
        }

        return pieces[..count];
    }

    private int ReadFolder(in FuseMessage message, Span<byte> answer)
    {
        int error = _files.Use(message.UInt64(0), out Lease folder, out FolderListing? listing);
        using (folder)
        {
            if (error != 0 || listing is null)
            {
                return error != 0 ? error : Error.BadHandle;
            }

            int room = (int)Math.Min(message.UInt32(16), (uint)answer.Length);
            lock (listing)
            {
                return ReadFolder(message, folder.File, listing, answer[..room]);
            }
        }
    }

    private int ReadFolder(in FuseMessage message, SafeFileHandle folder, FolderListing listing, Span<byte> answer)
    {
        bool plus = message.Operation == FuseOperation.ReadFolderPlus;
        long position = (long)message.UInt64(8);
        var writer = new FuseWriter(answer);
        int error;
        while ((error = listing.TryPeek(folder, position, out FolderListing.Entry entry)) > 0)
        {
            int nameLength = entry.Name.Length - 1;
            int padding = -nameLength & 7;
            if (writer.Length + (plus ? EntrySize : 0) + FolderEntrySize + nameLength + padding > answer.Length)
            {
                break;
            }

            if (plus)
            {
                EnterListed(message.Node, folder, entry, ref writer);
            }

            // ".." of the shared folder itself is not revealed.
            bool hidden = message.Node == NodeTable.RootId && entry.Name.SequenceEqual("..\0"u8);
            writer.UInt64(hidden ? NodeTable.RootId : entry.Inode);
            writer.UInt64((ulong)entry.Next);
            writer.UInt32((uint)nameLength);
            writer.UInt32(entry.Type);
            writer.Bytes(entry.Name[..nameLength]);
            writer.Zeroes(padding);
            position = entry.Next;
            listing.Advance(entry);
        }

        return error < 0 && writer.Length == 0 ? error : writer.Length;
    }

    // FUSE_READDIRPLUS: each entry counts as a lookup, but for "." and "..".
    private void EnterListed(ulong folderId, SafeFileHandle folder, in FolderListing.Entry entry, ref FuseWriter writer)
    {
        if (!entry.Name.SequenceEqual(".\0"u8) && !entry.Name.SequenceEqual("..\0"u8)
            && FileStatus.Of(folder, entry.Name, out FileStatus status) == 0 && _nodes.Add(folderId, entry.Name, status, out ulong id) == 0)
        {
            WriteEntry(ref writer, id, status);
        }
        else
        {
            writer.Zeroes(EntrySize);
        }
    }

    private int Sync(in FuseMessage message)
    {
        int error = _files.Use(message.UInt64(0), out Lease file);
        using (file)
        {
            return error != 0 ? error : FileTree.Sync(file.File, (message.UInt32(8) & BytesOnly) != 0);
        }
    }

    private int Allocate(in FuseMessage message)
    {
        uint mode = message.UInt32(24);
        if ((mode & ~AllocateModes) != 0)
        {
            return Error.Unsupported;
        }

        int error = _files.Use(message.UInt64(0), out Lease file);
        using (file)
        {
            return error != 0 ? error : FileTree.Allocate(file.File, (int)mode, (long)message.UInt64(8), (long)message.UInt64(16));
        }
    }

    private int Seek(in FuseMessage message, Span<byte> answer)
    {
        int whence = (int)message.UInt32(16);
        if (whence is not (SeekData or SeekHole))
        {
            return Error.Invalid;
        }

        int error = _files.Use(message.UInt64(0), out Lease file, out FolderListing? listing);
        using (file)
        {
            if (error != 0 || listing is not null)
            {
                return error != 0 ? error : Error.Invalid;
            }

            long found = FileTree.Seek(file.File, (long)message.UInt64(8), whence);
            if (found < 0)
            {
                return (int)found;
            }

            var writer = new FuseWriter(answer);
            writer.UInt64((ulong)found);
            return writer.Length;
        }
    }

    private int CopyFileRange(in FuseMessage message, Span<byte> answer)
    {
        int error = _files.Use(message.UInt64(0), out Lease from);
        using (from)
        {
            if (error != 0)
            {
                return error;
            }

            error = _files.Use(message.UInt64(24), out Lease to);
            using (to)
            {
                if (error != 0 || message.UInt64(48) != 0)
                {
                    return error != 0 ? error : Error.Invalid;
                }

                long length = (long)Math.Min(message.UInt64(40), (ulong)MaxCopied);
                long copied = FileTree.Copy(from.File, (long)message.UInt64(8), to.File, (long)message.UInt64(32), length);
                return copied < 0 ? (int)copied : WriteCount(answer, copied);
            }
        }
    }
}
