using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Yadokari.Linux;

namespace Yadokari.Shares;

/// <summary>
/// Iterates over the entries of an open folder (struct linux_dirent64 of linux/dirent.h). Positions are the host's d_off values, which stay valid
/// while entries are added and removed. One thread at a time: the caller locks it.
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

    /// <summary>Reads the entry at a position without advancing. 1 if there is one, 0 at the end, or an error.</summary>
    public int TryPeek(SafeFileHandle folder, long position, out Entry entry)
    {
        entry = default;
        if (_at == _end || position != _position)
        {
            if (_entries.Length == 0)
            {
                _entries = new byte[BufferSize];
            }

            // After a seek the buffered entries are discarded; a sequential read needs no seek.
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

    /// <summary>Advances past the entry that was read.</summary>
    public void Advance(in Entry entry)
    {
        _position = entry.Next;
        _at += BinaryPrimitives.ReadUInt16LittleEndian(_entries.AsSpan(_at + 16));
    }
}
