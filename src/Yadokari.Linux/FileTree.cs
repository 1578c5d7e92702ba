using System.Runtime.InteropServices;
using System.Text.Unicode;
using Microsoft.Win32.SafeHandles;

namespace Yadokari.Linux;

/// <summary>
/// System calls on files that are named by an open folder and one component, so that no name can lead out of the folder: symbolic links are not
/// followed. Names are bytes that end with NUL and contain no other NUL and no slash. Results are counts or 0, or a negated errno. After an
/// error there is no file to close.
/// </summary>
public static unsafe partial class FileTree
{
    // Types (inode(7)).

    /// <summary>A FIFO.</summary>
    public const uint Fifo = 0x1000;

    /// <summary>A folder.</summary>
    public const uint Folder = 0x4000;

    /// <summary>A regular file.</summary>
    public const uint Regular = 0x8000;

    /// <summary>A symbolic link.</summary>
    public const uint Symlink = 0xA000;

    /// <summary>A socket.</summary>
    public const uint Socket = 0xC000;

    // open(2), x86-64

    /// <summary>The mask of the access mode (O_ACCMODE).</summary>
    public const uint AccessMask = 3;

    /// <summary>O_RDWR: for reading and writing.</summary>
    public const uint ReadWrite = 2;

    /// <summary>O_EXCL: fails if the name exists.</summary>
    public const uint Exclusive = 0x80;

    /// <summary>O_TRUNC: truncates the file.</summary>
    public const uint Truncate = 0x200;

    /// <summary>O_APPEND: writes go to the end.</summary>
    public const uint Append = 0x400;

    /// <summary>O_SYNC: writes are on stable storage when they return.</summary>
    public const uint Synchronous = 0x101000;

    private const uint CreateFlag = 0x40;
    private const uint NoTerminal = 0x100;
    private const uint NonBlocking = 0x800;
    private const uint DirectoryFlag = 0x10000;
    private const uint NoFollow = 0x20000;
    private const uint CloseOnExec = 0x80000;
    private const uint PathOnly = 0x200000;
    private const uint Unnamed = 0x400000 | DirectoryFlag; // O_TMPFILE

    // linux/fcntl.h
    private const int CurrentFolder = -100;
    private const int RemoveFolder = 0x200;
    private const int FollowLink = 0x400;
    private const int EmptyPath = 0x1000;

    // sys/file.h
    private const int ExclusiveLock = 2;
    private const int DoNotWait = 4;

    private const uint PermissionMask = 0xFFF;
    private const int OpenFilesLimit = 7; // RLIMIT_NOFILE of asm-generic/resource.h
    private const int MaxDescriptorPathLength = 32;
    private const int SyscallGetDents64 = 217;
    private const int SetRange = 0;

    /// <summary>Whether this process has all rights on files, such as changing their owners.</summary>
    public static bool IsRoot => EffectiveUser() == 0;

    /// <summary>The limit of open files of this process (RLIMIT_NOFILE).</summary>
    public static long MaxOpenFiles
    {
        get
        {
            ulong* limits = stackalloc ulong[2];

            // SAFETY: struct rlimit is two numbers of 64 bits.
            return GetLimit(OpenFilesLimit, limits) == 0 ? (long)Math.Min(limits[0], int.MaxValue) : 1024;
        }
    }

    /// <summary>Opens a root folder by its path; follows symbolic links.</summary>
    public static int OpenFolder(string path, out SafeFileHandle folder) =>
        Opened(OpenAt(CurrentFolder, path, PathOnly | DirectoryFlag | CloseOnExec, 0), out folder);

    /// <summary>
    /// Opens a folder and locks it (flock(2)) until it is closed, waiting for other holders. Null if it can't be read, or the lock is not released in time.
    /// </summary>
    public static SafeFileHandle? TryLockFolder(string path)
    {
        if (Opened(OpenAt(CurrentFolder, path, DirectoryFlag | CloseOnExec, 0), out SafeFileHandle folder) != 0)
        {
            return null;
        }

        const int attempts = 200;
        for (int i = 0; i < attempts; i++)
        {
            if (FileLock(folder, ExclusiveLock | DoNotWait) == 0)
            {
                return folder;
            }

            if (Marshal.GetLastPInvokeError() != Errno.WouldBlock)
            {
                break;
            }

            Thread.Sleep(10);
        }

        folder.Dispose();
        return null;
    }

    /// <summary>Opens a file of any type with O_PATH: it can be examined and reopened, not read.</summary>
    public static int OpenPlace(SafeFileHandle folder, ReadOnlySpan<byte> name, out SafeFileHandle place)
    {
        CheckName(name);

        // SAFETY: the kernel reads up to the NUL.
        fixed (byte* from = name)
        {
            return Opened(OpenAt(folder, from, PathOnly | NoFollow | CloseOnExec, 0), out place);
        }
    }

    /// <summary>Reopens an O_PATH descriptor for reading or writing. The caller has checked that it is a regular file or a folder: others may block.</summary>
    /// <param name="place">The descriptor from <see cref="OpenPlace"/>.</param>
    /// <param name="flags">Access, and how writes are done.</param>
    /// <param name="file">Receives the open file.</param>
    public static int Reopen(SafeFileHandle place, uint flags, out SafeFileHandle file) => OpenByDescriptor(place, flags | NonBlocking, out file);

    /// <summary>Reopens an open regular file for reading, as a new open file description, which does not share flock(2)'s lock.</summary>
    public static int OpenAgain(SafeFileHandle file, out SafeFileHandle again) => OpenByDescriptor(file, 0, out again);

    /// <summary>Creates a regular file, which must not exist, and opens it. The process's umask clears bits of the mode.</summary>
    public static int Create(SafeFileHandle folder, ReadOnlySpan<byte> name, uint flags, uint mode, out SafeFileHandle file)
    {
        CheckName(name);

        // SAFETY: the kernel reads up to the NUL.
        fixed (byte* from = name)
        {
            return Opened(OpenAt(folder, from, flags | CreateFlag | Exclusive | NoFollow | NoTerminal | CloseOnExec, mode & PermissionMask), out file);
        }
    }

    /// <summary>Creates a regular file without a name in the file system of a folder, and opens it. Not every file system supports that.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="flags">Access mode, which must include writing, and flags of open(2); with <see cref="Exclusive"/> the file can't be linked.</param>
    /// <param name="mode">Its permissions. The process's umask clears bits of them.</param>
    /// <param name="file">Receives the open file.</param>
    public static int CreateUnnamed(SafeFileHandle folder, uint flags, uint mode, out SafeFileHandle file)
    {
        // SAFETY: the kernel reads up to the NUL.
        fixed (byte* self = "."u8)
        {
            return Opened(OpenAt(folder, self, flags | Unnamed | NoTerminal | CloseOnExec, mode & PermissionMask), out file);
        }
    }

    /// <summary>An O_PATH descriptor of an open file, which may have no name.</summary>
    public static int PlaceOf(SafeFileHandle file, out SafeFileHandle place) => Reopen(file, PathOnly, out place);

    /// <summary>Creates a folder.</summary>
    public static int MakeFolder(SafeFileHandle folder, ReadOnlySpan<byte> name, uint mode)
    {
        CheckName(name);

        // SAFETY: the kernel reads up to the NUL.
        fixed (byte* from = name)
        {
            return Check(MkdirAt(folder, from, mode & PermissionMask));
        }
    }

    /// <summary>Creates a regular file, a FIFO or a socket.</summary>
    public static int MakeNode(SafeFileHandle folder, ReadOnlySpan<byte> name, uint mode)
    {
        CheckName(name);

        // SAFETY: the kernel reads up to the NUL.
        fixed (byte* from = name)
        {
            return Check(MknodAt(folder, from, mode, 0));
        }
    }

    /// <summary>Creates a symbolic link. The target is bytes that end with NUL; it is not resolved.</summary>
    public static int MakeSymlink(SafeFileHandle folder, ReadOnlySpan<byte> name, ReadOnlySpan<byte> target)
    {
        CheckName(name);
        CheckEnd(target);

        // SAFETY: the kernel reads both up to their NULs.
        fixed (byte* from = name, to = target)
        {
            return Check(SymlinkAt(to, folder, from));
        }
    }

    /// <summary>Creates a hard link to the file of an O_PATH descriptor.</summary>
    public static int Link(SafeFileHandle place, SafeFileHandle folder, ReadOnlySpan<byte> name)
    {
        CheckName(name);
        Span<byte> path = stackalloc byte[MaxDescriptorPathLength];
        using var named = new DescriptorPath(place, path);

        // SAFETY: both end with NUL. The link that is followed is /proc's, to the place itself, whatever that is.
        fixed (byte* from = path, to = name)
        {
            return Check(LinkAt(CurrentFolder, from, folder, to, FollowLink));
        }
    }

    /// <summary>Renames a file.</summary>
    /// <param name="folder">Its folder.</param>
    /// <param name="name">Its name.</param>
    /// <param name="newFolder">The new folder.</param>
    /// <param name="newName">The new name.</param>
    /// <param name="flags">RENAME_NOREPLACE (1) or RENAME_EXCHANGE (2) of linux/fs.h.</param>
    public static int Rename(SafeFileHandle folder, ReadOnlySpan<byte> name, SafeFileHandle newFolder, ReadOnlySpan<byte> newName, uint flags)
    {
        CheckName(name);
        CheckName(newName);

        // SAFETY: the kernel reads both up to their NULs.
        fixed (byte* from = name, to = newName)
        {
            return Check(RenameAt2(folder, from, newFolder, to, flags));
        }
    }

    /// <summary>Unlinks a name.</summary>
    public static int Unlink(SafeFileHandle folder, ReadOnlySpan<byte> name, bool isFolder)
    {
        CheckName(name);

        // SAFETY: the kernel reads up to the NUL.
        fixed (byte* from = name)
        {
            return Check(UnlinkAt(folder, from, isFolder ? RemoveFolder : 0));
        }
    }

    /// <summary>Reads the target of a symbolic link. Returns its length, truncated to the span.</summary>
    public static int ReadLink(SafeFileHandle place, Span<byte> target)
    {
        byte nothing = 0;

        // SAFETY: the kernel reads one NUL and writes within the span.
        fixed (byte* to = target)
        {
            return Check(ReadLinkAt(place, &nothing, to, (nuint)target.Length));
        }
    }

    /// <summary>Changes owner and group of an O_PATH descriptor's file; <see cref="uint.MaxValue"/> leaves one unchanged.</summary>
    public static int ChangeOwner(SafeFileHandle place, uint user, uint group)
    {
        byte nothing = 0;

        // SAFETY: the kernel reads one NUL.
        return Check(ChownAt(place, &nothing, user, group, EmptyPath));
    }

    /// <summary>Changes the permissions of an O_PATH descriptor's file, which must not be a symbolic link.</summary>
    public static int ChangeMode(SafeFileHandle place, uint mode)
    {
        Span<byte> path = stackalloc byte[MaxDescriptorPathLength];
        using var named = new DescriptorPath(place, path);

        // SAFETY: the path ends with NUL.
        fixed (byte* from = path)
        {
            return Check(Chmod(from, mode & PermissionMask));
        }
    }

    /// <summary>Sets the times of an O_PATH descriptor's file; nanoseconds may be UTIME_NOW (0x3fffffff) and UTIME_OMIT (0x3ffffffe) of linux/stat.h.</summary>
    public static int SetTimes(SafeFileHandle place, FileTime accessed, FileTime modified)
    {
        long* times = stackalloc long[4] { accessed.Seconds, accessed.Nanoseconds, modified.Seconds, modified.Nanoseconds };
        Span<byte> path = stackalloc byte[MaxDescriptorPathLength];
        using var named = new DescriptorPath(place, path);

        // SAFETY: the path ends with NUL; two struct timespec are four numbers of 64 bits.
        fixed (byte* from = path)
        {
            return Check(UtimensAt(CurrentFolder, from, times, 0));
        }
    }

    /// <summary>Truncates or extends the regular file of an O_PATH descriptor.</summary>
    public static int Resize(SafeFileHandle place, long length)
    {
        Span<byte> path = stackalloc byte[MaxDescriptorPathLength];
        using var named = new DescriptorPath(place, path);

        // SAFETY: the path ends with NUL.
        fixed (byte* from = path)
        {
            return Check(TruncatePath(from, length));
        }
    }

    /// <summary>Truncates or extends a file that is open for writing.</summary>
    public static int ResizeOpen(SafeFileHandle file, long length) => Check(TruncateOpen(file, length));

    /// <summary>fsync(2), or fdatasync(2) for the data alone.</summary>
    public static int Sync(SafeFileHandle file, bool bytesOnly) => Check(bytesOnly ? DataSync(file) : FileSync(file));

    /// <summary>syncfs(2): the same for a whole file system.</summary>
    public static int SyncAll(SafeFileHandle file) => Check(SystemSync(file));

    /// <summary>Reserves, punches or clears a range (fallocate(2)).</summary>
    public static int Allocate(SafeFileHandle file, int mode, long offset, long length) => Check(AllocateRange(file, mode, offset, length));

    /// <summary>Finds data (3) or a hole (4) from an offset on (lseek(2)).</summary>
    public static long Seek(SafeFileHandle file, long offset, int whence) => CheckLong(SeekTo(file, offset, whence));

    /// <summary>Copies between files within the host.</summary>
    public static long Copy(SafeFileHandle from, long fromOffset, SafeFileHandle to, long toOffset, long length) =>
        CheckLong(CopyRange(from, &fromOffset, to, &toOffset, (nuint)length, 0));

    /// <summary>Reads entries of an open folder into a buffer: struct linux_dirent64 of linux/dirent.h, one after another. 0 at the end.</summary>
    /// <param name="folder">Open for reading.</param>
    /// <param name="position">The position to read from: 0, or the <c>d_off</c> of an entry. Null continues after the last read.</param>
    /// <param name="entries">Receives the entries.</param>
    public static int ReadFolder(SafeFileHandle folder, long? position, Span<byte> entries)
    {
        if (position is { } start && CheckLong(SeekTo(folder, start, SetRange)) is var sought and < 0)
        {
            return (int)sought;
        }

        // SAFETY: the kernel writes within the span.
        fixed (byte* to = entries)
        {
            return (int)CheckLong(GetEntries(SyscallGetDents64, folder, to, (nuint)entries.Length));
        }
    }

    /// <summary>Reads the size of the file system of an O_PATH descriptor.</summary>
    public static int FileSystem(SafeFileHandle place, out FileSystemStatus status)
    {
        // SAFETY: the kernel writes as many bytes as the structure has.
        fixed (FileSystemStatus* to = &status)
        {
            return Check(Fstatfs(place, to));
        }
    }

    internal static int Check(nint result) => result < 0 ? -Marshal.GetLastPInvokeError() : (int)result;

    internal static void CheckName(ReadOnlySpan<byte> name)
    {
        CheckEnd(name);
        if (name.Length == 1 || name.Contains((byte)'/'))
        {
            throw new ArgumentException("A name is one component.", nameof(name));
        }
    }

    private static void CheckEnd(ReadOnlySpan<byte> text)
    {
        if (text.IndexOf((byte)0) != text.Length - 1)
        {
            throw new ArgumentException("A name ends with its only NUL.", nameof(text));
        }
    }

    private static long CheckLong(nint result) => result < 0 ? -Marshal.GetLastPInvokeError() : result;

    private static int Opened(int descriptor, out SafeFileHandle file)
    {
        int error = descriptor < 0 ? -Marshal.GetLastPInvokeError() : 0;
        file = new SafeFileHandle(descriptor, ownsHandle: true);
        return error;
    }

    private static int OpenByDescriptor(SafeFileHandle place, uint flags, out SafeFileHandle file)
    {
        Span<byte> path = stackalloc byte[MaxDescriptorPathLength];
        using var named = new DescriptorPath(place, path);

        // SAFETY: the path ends with NUL.
        fixed (byte* from = path)
        {
            return Opened(OpenAt(CurrentFolder, from, flags | NoTerminal | CloseOnExec, 0), out file);
        }
    }

    /// <summary>The path by which /proc names an open place, good while this is held.</summary>
    private readonly ref struct DescriptorPath : IDisposable
    {
        private readonly SafeFileHandle _place;
        private readonly bool _held;

        public DescriptorPath(SafeFileHandle place, Span<byte> path)
        {
            _place = place;
            place.DangerousAddRef(ref _held);
            Utf8.TryWrite(path, $"/proc/self/fd/{(int)place.DangerousGetHandle()}\0", out _);
        }

        public void Dispose()
        {
            if (_held)
            {
                _place.DangerousRelease();
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true)]
    internal static partial int Statx(SafeFileHandle folder, byte* name, int flags, uint mask, FileStatus* status);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int FileLock(SafeFileHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenAt(int folder, string path, uint flags, uint mode);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true)]
    private static partial int OpenAt(int folder, byte* path, uint flags, uint mode);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true)]
    private static partial int OpenAt(SafeFileHandle folder, byte* name, uint flags, uint mode);

    [LibraryImport("libc", EntryPoint = "mkdirat", SetLastError = true)]
    private static partial int MkdirAt(SafeFileHandle folder, byte* name, uint mode);

    [LibraryImport("libc", EntryPoint = "mknodat", SetLastError = true)]
    private static partial int MknodAt(SafeFileHandle folder, byte* name, uint mode, ulong device);

    [LibraryImport("libc", EntryPoint = "symlinkat", SetLastError = true)]
    private static partial int SymlinkAt(byte* target, SafeFileHandle folder, byte* name);

    [LibraryImport("libc", EntryPoint = "linkat", SetLastError = true)]
    private static partial int LinkAt(int folder, byte* path, SafeFileHandle newFolder, byte* name, int flags);

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true)]
    private static partial int RenameAt2(SafeFileHandle folder, byte* name, SafeFileHandle newFolder, byte* newName, uint flags);

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true)]
    private static partial int UnlinkAt(SafeFileHandle folder, byte* name, int flags);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true)]
    private static partial nint ReadLinkAt(SafeFileHandle folder, byte* name, byte* target, nuint size);

    [LibraryImport("libc", EntryPoint = "fchownat", SetLastError = true)]
    private static partial int ChownAt(SafeFileHandle folder, byte* name, uint user, uint group, int flags);

    [LibraryImport("libc", EntryPoint = "chmod", SetLastError = true)]
    private static partial int Chmod(byte* path, uint mode);

    [LibraryImport("libc", EntryPoint = "utimensat", SetLastError = true)]
    private static partial int UtimensAt(int folder, byte* path, long* times, int flags);

    [LibraryImport("libc", EntryPoint = "truncate", SetLastError = true)]
    private static partial int TruncatePath(byte* path, long length);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int TruncateOpen(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FileSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int DataSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "syncfs", SetLastError = true)]
    private static partial int SystemSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int AllocateRange(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial nint SeekTo(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "copy_file_range", SetLastError = true)]
    private static partial nint CopyRange(SafeFileHandle from, long* fromOffset, SafeFileHandle to, long* toOffset, nuint length, uint flags);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint GetEntries(nint number, SafeFileHandle folder, byte* entries, nuint size);

    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    private static partial int Fstatfs(SafeFileHandle place, FileSystemStatus* status);

    [LibraryImport("libc", EntryPoint = "getrlimit", SetLastError = true)]
    private static partial int GetLimit(int resource, ulong* limits);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint EffectiveUser();
}

/// <summary>The size of a file system: struct statfs of asm-generic/statfs.h (6.1), x86-64.</summary>
[StructLayout(LayoutKind.Explicit, Size = 120)]
public readonly struct FileSystemStatus
{
    /// <summary>Bytes of a block.</summary>
    [FieldOffset(8)]
    public readonly ulong BlockSize;

    /// <summary>Count of blocks.</summary>
    [FieldOffset(16)]
    public readonly ulong Blocks;

    /// <summary>Free blocks.</summary>
    [FieldOffset(24)]
    public readonly ulong Free;

    /// <summary>Free blocks for unprivileged users.</summary>
    [FieldOffset(32)]
    public readonly ulong Available;

    /// <summary>Count of inodes.</summary>
    [FieldOffset(40)]
    public readonly ulong Files;

    /// <summary>Free inodes.</summary>
    [FieldOffset(48)]
    public readonly ulong FreeFiles;

    /// <summary>The maximum length of a name in bytes.</summary>
    [FieldOffset(64)]
    public readonly ulong MaxNameLength;

    /// <summary>Bytes of a fragment, in which blocks are counted.</summary>
    [FieldOffset(72)]
    public readonly ulong FragmentSize;
}
