using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Yadokari.Linux;

namespace Yadokari.Shares;

/// <summary>
/// Goes through the entries of an open folder (struct linux_dirent64 of linux/dirent.h). Where it stands is the host's number for it, which stays
/// good while others add and remove. One thread at a time: it is locked by who uses it.
/// </summary>
internal sealed class FolderListing
{
    private const int BufferSize = 16 << 10;
    private const int NameOffset = 19;

    private byte[] _entries = [];
    private int _at;
    private int _end;
    private long _position;

    /// <summary>An entry.</summary>
    public readonly ref struct Entry
    {
        /// <summary>Its number in its file system.</summary>
        public required ulong Inode { get; init; }

        /// <summary>Where the next one is.</summary>
        public required long Next { get; init; }

        /// <summary>Its type: the highest bits of a mode, or 0 where the host does not know.</summary>
        public required uint Type { get; init; }

        /// <summary>Its name, with a NUL.</summary>
        public required ReadOnlySpan<byte> Name { get; init; }
    }

    /// <summary>Looks at the entry at a position. 1 if there is one, 0 at the end, or an error.</summary>
    public int Look(SafeFileHandle folder, long position, out Entry entry)
    {
        entry = default;
        if (_at == _end || position != _position)
        {
            if (_entries.Length == 0)
            {
                _entries = new byte[BufferSize];
            }

            // What was read before is of no use to one who went back; who goes on need not say where to.
            bool goesOn = _end > 0 && position == _position;
            (_at, _end) = (0, 0);
            int read = FileTree.ReadFolder(folder, goesOn ? null : position, _entries);
            if (read <= 0)
            {
                return read;
            }

            (_end, _position) = (read, position);
        }

        ReadOnlySpan<byte> bytes = _entries.AsSpan(_at, BinaryPrimitives.ReadUInt16LittleEndian(_entries.AsSpan(_at + 16)));
        ReadOnlySpan<byte> name = bytes[NameOffset..];
        entry = new Entry
        {
            Inode = BinaryPrimitives.ReadUInt64LittleEndian(bytes),
            Next = BinaryPrimitives.ReadInt64LittleEndian(bytes[8..]),
            Type = bytes[18],
            Name = name[..(name.IndexOf((byte)0) + 1)],
        };
        return 1;
    }

    /// <summary>Goes on behind the entry that was looked at.</summary>
    public void Advance(in Entry entry)
    {
        _position = entry.Next;
        _at += BinaryPrimitives.ReadUInt16LittleEndian(_entries.AsSpan(_at + 16));
    }
}
