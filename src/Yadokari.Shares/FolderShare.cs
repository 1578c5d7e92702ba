using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Shares;
using Yadokari.Linux;

namespace Yadokari.Shares;

/// <summary>
/// A FUSE server for a folder of the host (linux/fuse.h, 7.31 and later). The guest has no access outside the folder: a request names an open
/// folder and one path component; the guest resolves symbolic links; only regular files and folders are opened. Files have the owners that they
/// have on the host; files that the guest creates belong to the guest's user if this process is root, otherwise to this process's user. Locks and
/// special files are local to the guest, and extended attributes are not supported.
/// </summary>
public sealed partial class FolderShare : IFileServer
{
    private const uint MajorVersion = 7;
    private const uint OldestMinor = 31;
    private const uint NewestMinor = 36;
    private const int InitSize = 64;
    private const int AttributesSize = 88;

    // Features (FUSE_INIT flags).
    private const uint AsynchronousReads = 1 << 0;
    private const uint BigWrites = 1 << 5;
    private const uint InvalidatesData = 1 << 12;
    private const uint ReadsFolderPlus = 1 << 13;
    private const uint ReadsFolderPlusAtWill = 1 << 14;
    private const uint AsynchronousDirect = 1 << 15;
    private const uint ParallelFolders = 1 << 18;
    private const uint HasMostPages = 1 << 22;
    private const uint Features = AsynchronousReads | BigWrites | InvalidatesData | ReadsFolderPlus | ReadsFolderPlusAtWill | AsynchronousDirect | ParallelFolders | HasMostPages;

    private const uint MaxWrite = 1 << 20;
    private const uint PageSize = 4096;
    private const uint MaxBackground = 64;

    // Validity of cached entries and attributes: the host may change the folder.
    private const ulong ValidSeconds = 1;

    private readonly NodeTable _nodes;
    private readonly OpenFiles _files;
    private readonly ulong _device;
    private readonly bool _readOnly;
    private readonly bool _isRoot = FileTree.IsRoot;

    private FolderShare(SafeFileHandle folder, in FileStatus status, bool readOnly, int mostOpen)
    {
        _device = status.Device;
        _readOnly = readOnly;
        _nodes = new NodeTable(folder, status, mostOpen / 2);
        _files = new OpenFiles(mostOpen / 2);
    }

    /// <summary>Opens a folder to share.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="readOnly">Not to be changed.</param>
    /// <param name="mostOpen">The maximum number of files of the host that are open at a time: 4 or more.</param>
    /// <exception cref="UserErrorException">It is missing, no folder or not to be entered.</exception>
    public static FolderShare Open(string path, bool readOnly, int mostOpen)
    {
        const int NotAFolder = -20;
        int error = FileTree.OpenFolder(path, out SafeFileHandle folder);
        FileStatus status = default;
        if (error == 0)
        {
            error = FileStatus.Of(folder, out status);
        }

        if (error == 0)
        {
            return new FolderShare(folder, status, readOnly, mostOpen);
        }

        throw new UserErrorException(error switch
        {
            Error.NoEntry => $"The folder '{path}' to share does not exist; check the path.",
            NotAFolder => $"'{path}' can't be shared, for it is no folder: name one.",
            _ => $"The folder '{path}' can't be shared ({System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(-error)}); check its permissions.",
        });
    }

    /// <inheritdoc/>
    public FileReply Serve(in FileRequest request)
    {
        if (request.Head.Length < FuseMessage.HeaderSize)
        {
            return Reply(request.Reply, 0, Error.Invalid, 0);
        }

        var message = new FuseMessage(request.Head);
        switch (message.Operation)
        {
            case FuseOperation.Forget:
                Forget(message);
                return default;
            case FuseOperation.BatchForget:
                ForgetAll(message);
                return default;
            case FuseOperation.Interrupt:
                return default; // FUSE_INTERRUPT: no request blocks for long.
        }

        bool whole = message.Length >= FuseMessage.HeaderSize && (message.Length <= request.Head.Length || message.Operation == FuseOperation.Write);
        long placed = 0;
        int answer = !whole || message.Body.Length < MinBody(message.Operation) ? Error.Invalid
            : _readOnly && Changes(message.Operation) ? Error.ReadOnly
            : Do(message, request, request.Reply[IFileServer.RoomOffset..], out placed);
        return Reply(request.Reply, message.Unique, answer, placed);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _files.Dispose();
        _nodes.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _files.Dispose();
        _nodes.Dispose();
    }

    private static FileReply Reply(Span<byte> reply, ulong unique, int answer, long placed)
    {
        int length = IFileServer.RoomOffset + Math.Max(answer, 0);
        BinaryPrimitives.WriteUInt32LittleEndian(reply, (uint)(length + placed));
        BinaryPrimitives.WriteInt32LittleEndian(reply[4..], Math.Min(answer, 0));
        BinaryPrimitives.WriteUInt64LittleEndian(reply[8..], unique);
        return new FileReply(length, placed);
    }

    // The minimum length of each request's body.
    private static int MinBody(FuseOperation operation) => operation switch
    {
        FuseOperation.SetAttributes => 88,
        FuseOperation.CopyFileRange => 56,
        FuseOperation.Read or FuseOperation.Write or FuseOperation.ReadFolder or FuseOperation.ReadFolderPlus => 40,
        FuseOperation.Allocate => 32,
        FuseOperation.Release or FuseOperation.ReleaseFolder or FuseOperation.Seek => 24,
        FuseOperation.GetAttributes or FuseOperation.Sync or FuseOperation.SyncFolder or FuseOperation.Init => 16,
        FuseOperation.Create or FuseOperation.CreateUnnamed or FuseOperation.MakeNode or FuseOperation.Rename2 => 16,
        FuseOperation.MakeFolder or FuseOperation.Rename or FuseOperation.Link or FuseOperation.Open or FuseOperation.OpenFolder => 8,
        _ => 0,
    };

    private static bool Changes(FuseOperation operation) => operation is FuseOperation.SetAttributes or FuseOperation.Symlink or FuseOperation.MakeNode
        or FuseOperation.MakeFolder or FuseOperation.Unlink or FuseOperation.RemoveFolder or FuseOperation.Rename or FuseOperation.Rename2
        or FuseOperation.Link or FuseOperation.Create or FuseOperation.CreateUnnamed or FuseOperation.Write or FuseOperation.Allocate
        or FuseOperation.CopyFileRange;

    // Bytes of an answer, or an error.
    private int Do(in FuseMessage message, in FileRequest request, Span<byte> answer, out long placed)
    {
        placed = 0;
        switch (message.Operation)
        {
            case FuseOperation.Init:
                return Begin(message, answer);
            case FuseOperation.Destroy:
                Reset();
                return 0;
            case FuseOperation.Lookup:
                return LookUp(message, answer);
            case FuseOperation.GetAttributes:
                return GetAttributes(message, answer);
            case FuseOperation.SetAttributes:
                return SetAttributes(message, answer);
            case FuseOperation.ReadLink:
                return ReadLink(message, answer);
            case FuseOperation.Symlink:
                return MakeSymlink(message, answer);
            case FuseOperation.MakeNode:
                return MakeNode(message, answer);
            case FuseOperation.MakeFolder:
                return MakeFolder(message, answer);
            case FuseOperation.Unlink:
                return Unlink(message, isFolder: false);
            case FuseOperation.RemoveFolder:
                return Unlink(message, isFolder: true);
            case FuseOperation.Rename:
                return Rename(message, 8, 0);
            case FuseOperation.Rename2:
                return Rename(message, 16, message.UInt32(8));
            case FuseOperation.Link:
                return Link(message, answer);
            case FuseOperation.FileSystem:
                return FileSystem(message, answer);
            case FuseOperation.SyncFileSystem:
                return SyncFileSystem();
            case FuseOperation.Create:
                return Create(message, answer);
            case FuseOperation.CreateUnnamed:
                return CreateUnnamed(message, answer);
            case FuseOperation.Open:
                return OpenFile(message, answer);
            case FuseOperation.OpenFolder:
                return OpenFolder(message, answer);
            case FuseOperation.Release or FuseOperation.ReleaseFolder:
                return _files.Remove(message.UInt64(0));
            case FuseOperation.Read:
                return Read(message, request.Room, out placed);
            case FuseOperation.Write:
                return Write(message, request.Data, answer);
            case FuseOperation.ReadFolder or FuseOperation.ReadFolderPlus:
                return ReadFolder(message, answer);
            case FuseOperation.Sync or FuseOperation.SyncFolder:
                return Sync(message);
            case FuseOperation.Allocate:
                return Allocate(message);
            case FuseOperation.Seek:
                return Seek(message, answer);
            case FuseOperation.CopyFileRange:
                return CopyFileRange(message, answer);
            default:
                return Error.NotImplemented; // ENOSYS: the guest's kernel does not send this request again.
        }
    }

    private int Begin(in FuseMessage message, Span<byte> answer)
    {
        (uint major, uint minor, uint readAhead, uint offered) = (message.UInt32(0), message.UInt32(4), message.UInt32(8), message.UInt32(12));
        var writer = new FuseWriter(answer);
        if (major > MajorVersion)
        {
            // Version negotiation: the guest sends FUSE_INIT again with this major version.
            writer.UInt32(MajorVersion);
            writer.UInt32(NewestMinor);
            writer.Zeroes(InitSize - 8);
            return writer.Length;
        }

        if (major < MajorVersion || minor < OldestMinor)
        {
            return Error.Protocol;
        }

        Reset();
        writer.UInt32(MajorVersion);
        writer.UInt32(Math.Min(minor, NewestMinor));
        writer.UInt32(readAhead);
        writer.UInt32(offered & Features);
        writer.UInt16(MaxBackground);
        writer.UInt16(MaxBackground * 3 / 4);
        writer.UInt32(MaxWrite);
        writer.UInt32(1); // Times have nanoseconds.
        writer.UInt16(MaxWrite / PageSize);
        writer.Zeroes(InitSize - writer.Length);
        return writer.Length;
    }

    private void Forget(in FuseMessage message)
    {
        if (message.Body.Length >= 8)
        {
            _nodes.Forget(message.Node, message.UInt64(0));
        }
    }

    private void ForgetAll(in FuseMessage message)
    {
        const int One = 16;
        uint count = message.Body.Length >= 8 ? message.UInt32(0) : 0;
        for (int at = 8; count > 0 && at + One <= message.Body.Length; at += One, count--)
        {
            _nodes.Forget(message.UInt64(at), message.UInt64(at + 8));
        }
    }

    private int SyncFileSystem()
    {
        if (_readOnly)
        {
            return 0;
        }

        int error = _nodes.Use(NodeTable.RootId, out Lease root);
        using (root)
        {
            if (error != 0 || (error = FileTree.Reopen(root.File, 0, out SafeFileHandle folder)) != 0)
            {
                return error;
            }

            using (folder)
            {
                return FileTree.SyncAll(folder);
            }
        }
    }

    private int FileSystem(in FuseMessage message, Span<byte> answer)
    {
        int error = _nodes.Use(message.Node, out Lease place);
        using (place)
        {
            if (error != 0 || (error = FileTree.FileSystem(place.File, out FileSystemStatus status)) != 0)
            {
                return error;
            }

            var writer = new FuseWriter(answer);
            writer.UInt64(status.Blocks);
            writer.UInt64(status.Free);
            writer.UInt64(status.Available);
            writer.UInt64(status.Files);
            writer.UInt64(status.FreeFiles);
            writer.UInt32((uint)status.BlockSize);
            writer.UInt32((uint)status.MaxNameLength);
            writer.UInt32((uint)status.FragmentSize);
            writer.Zeroes(28);
            return writer.Length;
        }
    }

    // struct fuse_attr
    private void WriteAttributes(ref FuseWriter writer, in FileStatus status)
    {
        // A file system mounted within the folder has inode numbers of its own.
        writer.UInt64(status.Device == _device ? status.Inode : status.Inode ^ (status.Device << 40) ^ (status.Device << 8));
        writer.UInt64(status.Size);
        writer.UInt64(status.Blocks);
        writer.UInt64((ulong)status.Accessed.Seconds);
        writer.UInt64((ulong)status.Modified.Seconds);
        writer.UInt64((ulong)status.Changed.Seconds);
        writer.UInt32(status.Accessed.Nanoseconds);
        writer.UInt32(status.Modified.Nanoseconds);
        writer.UInt32(status.Changed.Nanoseconds);
        writer.UInt32(status.Mode);
        writer.UInt32(status.Links);
        writer.UInt32(status.User);
        writer.UInt32(status.Group);
        writer.UInt32(status.NamedDevice);
        writer.UInt32(status.BlockSize);
        writer.UInt32(0);
    }

    // struct fuse_attr_out
    private int WriteAttributesOut(Span<byte> answer, in FileStatus status)
    {
        var writer = new FuseWriter(answer);
        writer.UInt64(ValidSeconds);
        writer.UInt64(0);
        WriteAttributes(ref writer, status);
        return writer.Length;
    }

    // struct fuse_entry_out
    private void WriteEntry(ref FuseWriter writer, ulong id, in FileStatus status)
    {
        writer.UInt64(id);
        writer.UInt64(0); // Node IDs are never reused: the generation is 0.
        writer.UInt64(ValidSeconds);
        writer.UInt64(ValidSeconds);
        writer.UInt64(0);
        WriteAttributes(ref writer, status);
    }
}
