using Microsoft.Win32.SafeHandles;
using Yadokari.Linux;

namespace Yadokari.Shares;

/// <summary>Requests on names and attributes.</summary>
public sealed partial class FolderShare
{
    // Which attributes to set (FATTR_*).
    private const uint SetMode = 1 << 0;
    private const uint SetUser = 1 << 1;
    private const uint SetGroup = 1 << 2;
    private const uint SetSize = 1 << 3;
    private const uint SetAccessed = 1 << 4;
    private const uint SetModified = 1 << 5;
    private const uint ByHandle = 1 << 6;
    private const uint AccessedNow = 1 << 7;
    private const uint ModifiedNow = 1 << 8;

    private const uint NowNanoseconds = 0x3FFF_FFFF;
    private const uint OmitNanoseconds = 0x3FFF_FFFE;
    private const uint PermissionMask = 0xFFF;
    private const uint SetGroupId = 0x400;
    private const uint TypeMask = 0xF000;
    private const uint NoReplace = 1;
    private const uint Exchange = 2;
    private const int MaxTargetLength = 4095;

    private int LookUp(in FuseMessage message, Span<byte> answer)
    {
        int error = message.Name(0, out ReadOnlySpan<byte> name);
        if (error < 0)
        {
            return error;
        }

        error = UseFolder(message.Node, out Lease folder);
        using (folder)
        {
            return error != 0 ? error : Enter(message.Node, folder.File, name, answer);
        }
    }

    private int UseFolder(ulong id, out Lease folder)
    {
        const int NotAFolder = -20;
        int error = _nodes.Use(id, out folder);
        if (error == 0 && folder.Type != FileTree.Folder)
        {
            folder.Dispose();
            folder = default;
            error = NotAFolder;
        }

        return error;
    }

    // FUSE_LOOKUP: the reply counts as a lookup of the node.
    private int Enter(ulong folderId, SafeFileHandle folder, ReadOnlySpan<byte> name, Span<byte> answer)
    {
        int error = FileStatus.Of(folder, name, out FileStatus status);
        if (error != 0 || (error = _nodes.Add(folderId, name, status, out ulong id)) != 0)
        {
            return error;
        }

        var writer = new FuseWriter(answer);
        WriteEntry(ref writer, id, status);
        return writer.Length;
    }

    private int GetAttributes(in FuseMessage message, Span<byte> answer)
    {
        const uint ByHandleFlag = 1;
        int error = (message.UInt32(0) & ByHandleFlag) != 0 && message.Body.Length >= 16 ? _files.Use(message.UInt64(8), out Lease file) : _nodes.Use(message.Node, out file);
        using (file)
        {
            return error != 0 || (error = FileStatus.Of(file.File, out FileStatus status)) != 0 ? error : WriteAttributesOut(answer, status);
        }
    }

    private int SetAttributes(in FuseMessage message, Span<byte> answer)
    {
        int error = _nodes.Use(message.Node, out Lease place);
        using (place)
        {
            if (error != 0 || (error = SetAttributes(message, place)) != 0 || (error = FileStatus.Of(place.File, out FileStatus status)) != 0)
            {
                return error;
            }

            return WriteAttributesOut(answer, status);
        }
    }

    private int SetAttributes(in FuseMessage message, in Lease place)
    {
        uint which = message.UInt32(0);
        int error = 0;
        if ((which & (SetUser | SetGroup)) != 0)
        {
            error = FileTree.ChangeOwner(place.File, (which & SetUser) != 0 ? message.UInt32(76) : uint.MaxValue, (which & SetGroup) != 0 ? message.UInt32(80) : uint.MaxValue);
        }

        if (error == 0 && (which & SetSize) != 0)
        {
            error = place.Type == FileTree.Regular ? Resize(message, place.File, (which & ByHandle) != 0) : Error.Invalid;
        }

        // Behind the owner, which takes set-user-ID away.
        if (error == 0 && (which & SetMode) != 0)
        {
            error = place.Type == FileTree.Symlink ? Error.Unsupported : FileTree.ChangeMode(place.File, message.UInt32(68));
        }

        if (error == 0 && (which & (SetAccessed | SetModified)) != 0)
        {
            error = FileTree.SetTimes(
                place.File,
                Time(which, SetAccessed, AccessedNow, message.UInt64(32), message.UInt32(56)),
                Time(which, SetModified, ModifiedNow, message.UInt64(40), message.UInt32(60)));
        }

        return error;
    }

    private static FileTime Time(uint which, uint set, uint now, ulong seconds, uint nanoseconds) =>
        (which & set) == 0 ? new FileTime(0, OmitNanoseconds)
        : (which & now) != 0 ? new FileTime(0, NowNanoseconds)
        : new FileTime((long)seconds, Math.Min(nanoseconds, 999_999_999));

    private int Resize(in FuseMessage message, SafeFileHandle place, bool byHandle)
    {
        long length = (long)message.UInt64(16);
        if (!byHandle)
        {
            return FileTree.Resize(place, length);
        }

        int error = _files.Use(message.UInt64(8), out Lease file);
        using (file)
        {
            return error != 0 ? error : FileTree.ResizeOpen(file.File, length);
        }
    }

    private int ReadLink(in FuseMessage message, Span<byte> answer)
    {
        int error = _nodes.Use(message.Node, out Lease place);
        using (place)
        {
            return error != 0 ? error : place.Type != FileTree.Symlink ? Error.Invalid : FileTree.ReadLink(place.File, answer[..MaxTargetLength]);
        }
    }

    private int MakeSymlink(in FuseMessage message, Span<byte> answer)
    {
        int next = message.Name(0, out ReadOnlySpan<byte> name);
        if (next < 0 || (next = message.Text(next, out ReadOnlySpan<byte> target)) < 0)
        {
            return next;
        }

        int error = UseFolder(message.Node, out Lease folder);
        using (folder)
        {
            return error != 0 || (error = FileTree.MakeSymlink(folder.File, name, target)) != 0 ? error
                : EnterMade(message, folder.File, name, FileTree.Symlink, answer);
        }
    }

    private int MakeFolder(in FuseMessage message, Span<byte> answer)
    {
        int error = message.Name(8, out ReadOnlySpan<byte> name);
        if (error < 0)
        {
            return error;
        }

        uint mode = message.UInt32(0) & PermissionMask;
        error = UseFolder(message.Node, out Lease folder);
        using (folder)
        {
            return error != 0 || (error = FileTree.MakeFolder(folder.File, name, mode)) != 0 ? error
                : EnterMade(message, folder.File, name, FileTree.Folder | mode, answer);
        }
    }

    // A device node would give access to the host's device.
    private int MakeNode(in FuseMessage message, Span<byte> answer)
    {
        int error = message.Name(16, out ReadOnlySpan<byte> name);
        uint mode = message.UInt32(0);
        uint type = mode & TypeMask;
        if (error < 0 || type is not (0 or FileTree.Regular or FileTree.Fifo or FileTree.Socket))
        {
            return error < 0 ? error : Error.NotPermitted;
        }

        error = UseFolder(message.Node, out Lease folder);
        using (folder)
        {
            return error != 0 || (error = FileTree.MakeNode(folder.File, name, mode)) != 0 ? error
                : EnterMade(message, folder.File, name, type == 0 ? mode | FileTree.Regular : mode, answer);
        }
    }

    private int EnterMade(in FuseMessage message, SafeFileHandle folder, ReadOnlySpan<byte> name, uint mode, Span<byte> answer)
    {
        int error = FileTree.OpenPlace(folder, name, out SafeFileHandle place);
        using (place)
        {
            return error != 0 || (error = Adopt(message, folder, place, mode, out FileStatus status)) != 0 ? error
                : Enter(message.Node, folder, name, answer);
        }
    }

    // Sets owner and permissions of a new file as the guest requested: the host's umask does not apply.
    private int Adopt(in FuseMessage message, SafeFileHandle folder, SafeFileHandle made, uint mode, out FileStatus status)
    {
        int error = FileStatus.Of(made, out status);
        if (error != 0 || status.Type != (mode & TypeMask))
        {
            return error; // Another process has replaced the new file: its attributes are left alone.
        }

        if (_isRoot && (status.User != message.User || status.Group != message.Group))
        {
            // A folder may have its files belong to its group. Where the host knows no such user, the file stays its user's.
            error = FileStatus.Of(folder, out FileStatus parent);
            _ = error == 0 ? FileTree.ChangeOwner(made, message.User, (parent.Mode & SetGroupId) != 0 ? uint.MaxValue : message.Group) : 0;
            error = FileStatus.Of(made, out status);
        }

        uint wanted = (mode & PermissionMask) | (status.Type == FileTree.Folder ? status.Mode & SetGroupId : 0);
        if (error == 0 && status.Type != FileTree.Symlink && (status.Mode & PermissionMask) != wanted)
        {
            _ = FileTree.ChangeMode(made, wanted);
            error = FileStatus.Of(made, out status);
        }

        return error;
    }

    private int Link(in FuseMessage message, Span<byte> answer)
    {
        int error = message.Name(8, out ReadOnlySpan<byte> name);
        if (error < 0 || (error = UseFolder(message.Node, out Lease folder)) != 0)
        {
            return error;
        }

        using (folder)
        {
            error = _nodes.Use(message.UInt64(0), out Lease place);
            using (place)
            {
                return error != 0 ? error
                    : place.Type == FileTree.Folder ? Error.NotPermitted
                    : (error = FileTree.Link(place.File, folder.File, name)) != 0 ? error
                    : Enter(message.Node, folder.File, name, answer);
            }
        }
    }

    private int Unlink(in FuseMessage message, bool isFolder)
    {
        int error = message.Name(0, out ReadOnlySpan<byte> name);
        if (error < 0 || (error = UseFolder(message.Node, out Lease folder)) != 0)
        {
            return error;
        }

        using (folder)
        {
            KeepNamed(folder.File, name);
            return FileTree.Unlink(folder.File, name, isFolder);
        }
    }

    private void KeepNamed(SafeFileHandle folder, ReadOnlySpan<byte> name)
    {
        if (FileStatus.Of(folder, name, out FileStatus status) == 0)
        {
            _nodes.Keep(status);
        }
    }

    private int Rename(in FuseMessage message, int namesAt, uint flags)
    {
        int next = message.Name(namesAt, out ReadOnlySpan<byte> name);
        if (next < 0 || (next = message.Name(next, out ReadOnlySpan<byte> newName)) < 0)
        {
            return next;
        }

        if (flags is not (0 or NoReplace or Exchange))
        {
            return Error.Invalid;
        }

        ulong newFolderId = message.UInt64(0);
        int error = UseFolder(message.Node, out Lease folder);
        if (error != 0)
        {
            return error;
        }

        using (folder)
        {
            error = UseFolder(newFolderId, out Lease newFolder);
            using (newFolder)
            {
                return error != 0 ? error : Rename(message.Node, folder.File, name, newFolderId, newFolder.File, newName, flags);
            }
        }
    }

    private int Rename(ulong folderId, SafeFileHandle folder, ReadOnlySpan<byte> name, ulong newFolderId, SafeFileHandle newFolder, ReadOnlySpan<byte> newName, uint flags)
    {
        int error = FileStatus.Of(folder, name, out FileStatus moved);
        if (error != 0)
        {
            return error;
        }

        bool replaces = FileStatus.Of(newFolder, newName, out FileStatus replaced) == 0;
        if (replaces && flags == 0)
        {
            _nodes.Keep(replaced);
        }

        error = FileTree.Rename(folder, name, newFolder, newName, flags);
        if (error == 0)
        {
            _nodes.Moved(moved, newFolderId, newName);
            if (flags == Exchange)
            {
                _nodes.Moved(replaced, folderId, name);
            }
        }

        return error;
    }
}
