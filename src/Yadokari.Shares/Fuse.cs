using System.Buffers.Binary;

namespace Yadokari.Shares;

/// <summary>The operation of a request (linux/fuse.h, enum fuse_opcode).</summary>
internal enum FuseOperation : uint
{
    Lookup = 1,
    Forget = 2,
    GetAttributes = 3,
    SetAttributes = 4,
    ReadLink = 5,
    Symlink = 6,
    MakeNode = 8,
    MakeFolder = 9,
    Unlink = 10,
    RemoveFolder = 11,
    Rename = 12,
    Link = 13,
    Open = 14,
    Read = 15,
    Write = 16,
    FileSystem = 17,
    Release = 18,
    Sync = 20,
    Init = 26,
    OpenFolder = 27,
    ReadFolder = 28,
    ReleaseFolder = 29,
    SyncFolder = 30,
    Create = 35,
    Interrupt = 36,
    Destroy = 38,
    BatchForget = 42,
    Allocate = 43,
    ReadFolderPlus = 44,
    Rename2 = 45,
    Seek = 46,
    CopyFileRange = 47,
    SyncFileSystem = 50,
    CreateUnnamed = 51,
}

/// <summary>Errors of the protocol: negated errno values.</summary>
internal static class Error
{
    public const int NotPermitted = -1;
    public const int NoEntry = -2;
    public const int BadHandle = -9;
    public const int Exists = -17;
    public const int IsFolder = -21;
    public const int Invalid = -22;
    public const int TooManyOpen = -23;
    public const int ReadOnly = -30;
    public const int NameTooLong = -36;
    public const int NotImplemented = -38;
    public const int Protocol = -71;
    public const int Unsupported = -95;
    public const int Stale = -116;
}

/// <summary>A request: the parsed header (struct fuse_in_header) and the body.</summary>
internal readonly ref struct FuseMessage
{
    public const int HeaderSize = 40;
    private const int MaxNameLength = 255;

    /// <summary>Takes it apart. There are as many bytes as a header has.</summary>
    public FuseMessage(ReadOnlySpan<byte> bytes)
    {
        Length = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        Operation = (FuseOperation)BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
        Unique = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]);
        Node = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
        User = BinaryPrimitives.ReadUInt32LittleEndian(bytes[24..]);
        Group = BinaryPrimitives.ReadUInt32LittleEndian(bytes[28..]);
        Body = bytes[HeaderSize..(int)Math.Clamp(Length, HeaderSize, bytes.Length)];
    }

    /// <summary>Bytes of all of it, as it says.</summary>
    public uint Length { get; }

    public FuseOperation Operation { get; }

    /// <summary>The request's ID (unique), which the reply repeats.</summary>
    public ulong Unique { get; }

    /// <summary>The node ID.</summary>
    public ulong Node { get; }

    /// <summary>User ID of the requesting process.</summary>
    public uint User { get; }

    public uint Group { get; }

    public ReadOnlySpan<byte> Body { get; }

    public uint UInt32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(Body[offset..]);

    public ulong UInt64(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(Body[offset..]);

    /// <summary>Text with its NUL. Returns where the next begins, or an error.</summary>
    public int Text(int offset, out ReadOnlySpan<byte> text)
    {
        int end = Body[offset..].IndexOf((byte)0);
        text = end < 0 ? default : Body.Slice(offset, end + 1);
        return end < 0 ? Error.Invalid : offset + end + 1;
    }

    /// <summary>A name in a folder, with its NUL. Returns where the next begins, or an error: a name leads nowhere else.</summary>
    public int Name(int offset, out ReadOnlySpan<byte> name)
    {
        int next = Text(offset, out name);
        return next < 0 ? next
            : name.Length - 1 > MaxNameLength ? Error.NameTooLong
            : name.Length == 1 || name.Contains((byte)'/') || name.SequenceEqual(".\0"u8) || name.SequenceEqual("..\0"u8) ? Error.Invalid
            : next;
    }
}

/// <summary>Puts the numbers of an answer one behind another.</summary>
internal ref struct FuseWriter(Span<byte> to)
{
    private readonly Span<byte> _to = to;

    /// <summary>Bytes so far.</summary>
    public int Length { get; private set; }

    public void UInt16(uint value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_to[Length..], (ushort)value);
        Length += 2;
    }

    public void UInt32(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_to[Length..], value);
        Length += 4;
    }

    public void UInt64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_to[Length..], value);
        Length += 8;
    }

    public void Bytes(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_to[Length..]);
        Length += bytes.Length;
    }

    public void Zeroes(int count)
    {
        _to.Slice(Length, count).Clear();
        Length += count;
    }
}
