using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Yadokari.Linux;

/// <summary>A time stamp of a file: seconds since 1970, and nanoseconds; struct statx_timestamp of linux/stat.h (6.1).</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
public readonly record struct FileTime(long Seconds, uint Nanoseconds);

/// <summary>The status of a file: struct statx of linux/stat.h (6.1).</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
public readonly struct FileStatus
{
    // linux/stat.h and linux/fcntl.h
    private const int CurrentFolder = -100;
    private const int NoFollow = 0x100;
    private const int NoAutomount = 0x800;
    private const int EmptyPath = 0x1000;
    private const uint Basic = 0x7FF;
    private const uint TypeMask = 0xF000;

    /// <summary>The preferred length of reads and writes.</summary>
    [FieldOffset(4)]
    public readonly uint BlockSize;

    /// <summary>Count of hard links.</summary>
    [FieldOffset(16)]
    public readonly uint Links;

    /// <summary>Its owner.</summary>
    [FieldOffset(20)]
    public readonly uint User;

    /// <summary>Its group.</summary>
    [FieldOffset(24)]
    public readonly uint Group;

    [FieldOffset(28)]
    private readonly ushort _mode;

    /// <summary>Inode number.</summary>
    [FieldOffset(32)]
    public readonly ulong Inode;

    /// <summary>Bytes.</summary>
    [FieldOffset(40)]
    public readonly ulong Size;

    /// <summary>Allocated space in units of 512 bytes.</summary>
    [FieldOffset(48)]
    public readonly ulong Blocks;

    /// <summary>When it was last read.</summary>
    [FieldOffset(64)]
    public readonly FileTime Accessed;

    /// <summary>When the inode was last changed.</summary>
    [FieldOffset(96)]
    public readonly FileTime Changed;

    /// <summary>When it was last written.</summary>
    [FieldOffset(112)]
    public readonly FileTime Modified;

    [FieldOffset(128)]
    private readonly uint _namedMajor;

    [FieldOffset(132)]
    private readonly uint _namedMinor;

    [FieldOffset(136)]
    private readonly uint _major;

    [FieldOffset(140)]
    private readonly uint _minor;

    /// <summary>Type and permissions (inode(7)).</summary>
    public uint Mode => _mode;

    /// <summary>The type alone: one of <see cref="FileTree"/>'s.</summary>
    public uint Type => _mode & TypeMask;

    /// <summary>The device id of its file system.</summary>
    public ulong Device => ((ulong)_major << 32) | _minor;

    /// <summary>The device that a device node names, as the kernel encodes it in 32 bits (linux/kdev_t.h, new_encode_dev).</summary>
    public uint NamedDevice => (_namedMinor & 0xFF) | (_namedMajor << 8) | ((_namedMinor & ~0xFFu) << 12);

    /// <summary>Reads the status of an open file. Returns 0, or a negated errno.</summary>
    public static unsafe int Of(SafeFileHandle file, out FileStatus status)
    {
        // SAFETY: the kernel reads one NUL and writes as many bytes as this structure has.
        fixed (FileStatus* to = &status)
        {
            byte nothing = 0;
            return FileTree.Check(FileTree.Statx(file, &nothing, EmptyPath | NoAutomount, Basic, to));
        }
    }

    /// <summary>Reads the status of the file at a path; follows symbolic links. Returns 0, or a negated errno.</summary>
    public static unsafe int Of(string path, out FileStatus status)
    {
        using var from = new SafeFileHandle(CurrentFolder, ownsHandle: false);

        // SAFETY: the kernel reads up to the NUL and writes as many bytes as this structure has.
        fixed (FileStatus* to = &status)
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            return FileTree.Check(FileTree.Statx(from, name, NoAutomount, Basic, to));
        }
    }

    /// <summary>Reads the status of a name in a folder; does not follow a symbolic link. Returns 0, or a negated errno.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="name">One component that ends with NUL.</param>
    /// <param name="status">Receives the status.</param>
    public static unsafe int Of(SafeFileHandle folder, ReadOnlySpan<byte> name, out FileStatus status)
    {
        FileTree.CheckName(name);

        // SAFETY: the kernel reads up to the NUL, which is there, and writes as many bytes as this structure has.
        fixed (FileStatus* to = &status)
        fixed (byte* from = name)
        {
            return FileTree.Check(FileTree.Statx(folder, from, NoFollow | NoAutomount, Basic, to));
        }
    }
}
