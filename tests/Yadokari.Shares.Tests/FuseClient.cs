using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Yadokari.Core.Memory;
using Yadokari.Core.Shares;

namespace Yadokari.Shares.Tests;

/// <summary>The guest's side of FUSE, written from linux/fuse.h alone: one request at a time, as a guest's kernel would put them.</summary>
internal sealed class FuseClient(IFileServer server)
{
    public const ulong Root = 1;

    private readonly byte[] _reply = new byte[IFileServer.MaxReply];
    private ulong _unique;

    /// <summary>Who asks.</summary>
    public (uint User, uint Group) As { get; set; }

    /// <summary>Sends a message. Returns errno (positive), and what follows the answer's header.</summary>
    public (int Error, byte[] Body) Call(uint operation, ulong node, byte[] body, byte[]? data = null, int room = 0)
    {
        byte[] head = new byte[40 + body.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(head, (uint)(head.Length + (data?.Length ?? 0)));
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(4), operation);
        BinaryPrimitives.WriteUInt64LittleEndian(head.AsSpan(8), ++_unique);
        BinaryPrimitives.WriteUInt64LittleEndian(head.AsSpan(16), node);
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(24), As.User);
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(28), As.Group);
        body.CopyTo(head, 40);
        byte[] sent = Pinned(data?.Length ?? 0);
        data?.CopyTo(sent, 0);
        byte[] got = Pinned(room);
        FileReply reply = server.Serve(new FileRequest { Head = head, Data = Pieces(sent), Reply = _reply, Room = Pieces(got) });
        if (reply.Length == 0)
        {
            return (0, []);
        }

        Assert.InRange(reply.Length, 16, _reply.Length);
        Assert.InRange(reply.Placed, 0, room);
        Assert.Equal((uint)(reply.Length + reply.Placed), BinaryPrimitives.ReadUInt32LittleEndian(_reply));
        Assert.Equal(_unique, BinaryPrimitives.ReadUInt64LittleEndian(_reply.AsSpan(8)));
        return (-BinaryPrimitives.ReadInt32LittleEndian(_reply.AsSpan(4)), [.. _reply[16..reply.Length], .. got[..(int)reply.Placed]]);
    }

    public (int Error, byte[] Body) Init(uint major = 7, uint minor = 36) => Call(26, 0, Bytes(major, minor, 1u << 20, uint.MaxValue, 0u, new byte[44]));

    /// <summary>errno, number and attributes.</summary>
    public (int Error, ulong Id, Attributes What) Lookup(ulong folder, string name) => Entry(Call(1, folder, Bytes(name)));

    public (int Error, ulong Id, Attributes What) MakeFolder(ulong folder, string name, uint mode = 0x1ED) => Entry(Call(9, folder, Bytes(mode, 0u, name)));

    public (int Error, ulong Id, Attributes What) MakeNode(ulong folder, string name, uint mode) => Entry(Call(8, folder, Bytes(mode, 0u, 0u, 0u, name)));

    public (int Error, ulong Id, Attributes What) Symlink(ulong folder, string name, string target) => Entry(Call(6, folder, Bytes(name, target)));

    public (int Error, ulong Id, Attributes What) Link(ulong node, ulong folder, string name) => Entry(Call(13, folder, Bytes(node, name)));

    public int Unlink(ulong folder, string name) => Call(10, folder, Bytes(name)).Error;

    public int RemoveFolder(ulong folder, string name) => Call(11, folder, Bytes(name)).Error;

    public int Rename(ulong folder, string name, ulong newFolder, string newName, uint flags = 0) => Call(45, folder, Bytes(newFolder, flags, 0u, name, newName)).Error;

    public int Forget(ulong node, ulong count) => Call(2, node, Bytes(count)).Error;

    /// <summary>errno, number and handle.</summary>
    public (int Error, ulong Id, ulong Handle) Create(ulong folder, string name, uint flags = 2, uint mode = 0x1A4)
    {
        (int error, byte[] body) = Call(35, folder, Bytes(flags, mode, 0u, 0u, name));
        return error != 0 ? (error, 0, 0) : (0, BinaryPrimitives.ReadUInt64LittleEndian(body), BinaryPrimitives.ReadUInt64LittleEndian(body.AsSpan(128)));
    }

    public (int Error, ulong Handle) Open(ulong node, uint flags = 2) => Handle(Call(14, node, Bytes(flags, 0u)));

    public (int Error, ulong Handle) OpenFolder(ulong node) => Handle(Call(27, node, Bytes(0u, 0u)));

    public int Release(ulong handle) => Call(18, Root, Bytes(handle, 0ul, 0ul)).Error;

    public (int Error, byte[] Body) Read(ulong handle, ulong offset, int size) => Call(15, Root, Bytes(handle, offset, (uint)size, 0u, 0ul, 0u, 0u), room: size);

    /// <summary>errno and bytes written.</summary>
    public (int Error, uint Written) Write(ulong handle, ulong offset, byte[] data, uint flags = 0, uint writeFlags = 0)
    {
        (int error, byte[] body) = Call(16, Root, Bytes(handle, offset, (uint)data.Length, writeFlags, 0ul, flags, 0u), data);
        return error != 0 ? (error, 0) : (0, BinaryPrimitives.ReadUInt32LittleEndian(body));
    }

    public (int Error, Attributes What) Attributes(ulong node, ulong? handle = null)
    {
        (int error, byte[] body) = Call(3, node, Bytes(handle is null ? 0u : 1u, 0u, handle ?? 0));
        return (error, error != 0 ? default : new Attributes(body.AsSpan(16)));
    }

    public int SetAttributes(ulong node, uint valid, ulong handle = 0, ulong size = 0, ulong accessed = 0, ulong modified = 0, uint modifiedNanoseconds = 0, uint mode = 0, uint user = 0, uint group = 0) =>
        Call(4, node, Bytes(valid, 0u, handle, size, 0ul, accessed, modified, 0ul, 0u, modifiedNanoseconds, 0u, mode, 0u, user, group, 0u)).Error;

    /// <summary>The entries of a folder from a position on, as many as fit: name, type, where the next is; with what is told of them if asked.</summary>
    public (int Error, List<(string Name, uint Type, ulong Next, ulong Id)> Entries) ReadFolder(ulong node, ulong handle, ulong offset, int size = 4096, bool plus = false)
    {
        (int error, byte[] body) = Call(plus ? 44u : 28u, node, Bytes(handle, offset, (uint)size, 0u, 0ul, 0u, 0u));
        List<(string, uint, ulong, ulong)> entries = [];
        Assert.True(body.Length <= size);
        for (int at = 0; at < body.Length;)
        {
            ulong id = plus ? BinaryPrimitives.ReadUInt64LittleEndian(body.AsSpan(at)) : 0;
            at += plus ? 128 : 0;
            int length = (int)BinaryPrimitives.ReadUInt32LittleEndian(body.AsSpan(at + 16));
            entries.Add((Encoding.UTF8.GetString(body, at + 24, length), BinaryPrimitives.ReadUInt32LittleEndian(body.AsSpan(at + 20)), BinaryPrimitives.ReadUInt64LittleEndian(body.AsSpan(at + 8)), id));
            at += (24 + length + 7) & ~7;
        }

        return (error, entries);
    }

    /// <summary>Numbers in little endian, and texts that end with NUL, one behind another.</summary>
    public static byte[] Bytes(params object[] parts) => [.. parts.SelectMany(part => part switch
    {
        uint number => BitConverter.GetBytes(number),
        ulong number => BitConverter.GetBytes(number),
        string text => [.. Encoding.UTF8.GetBytes(text), 0],
        byte[] bytes => bytes,
        _ => throw new ArgumentException($"{part}"),
    })];

    // In pieces of odd lengths, as a guest's pages may lie.
    private static HostBuffer[] Pieces(byte[] bytes)
    {
        const int Piece = 4091;
        return [.. Enumerable.Range(0, (bytes.Length + Piece - 1) / Piece)
            .Select(i => new HostBuffer(Marshal.UnsafeAddrOfPinnedArrayElement(bytes, i * Piece), Math.Min(Piece, bytes.Length - (i * Piece))))];
    }

    private static byte[] Pinned(int length) => GC.AllocateArray<byte>(length, pinned: true);

    private static (int Error, ulong Id, Attributes What) Entry((int Error, byte[] Body) answer) =>
        answer.Error != 0 ? (answer.Error, 0, default) : (0, BinaryPrimitives.ReadUInt64LittleEndian(answer.Body), new Attributes(answer.Body.AsSpan(40)));

    private static (int Error, ulong Handle) Handle((int Error, byte[] Body) answer) => (answer.Error, answer.Error != 0 ? 0 : BinaryPrimitives.ReadUInt64LittleEndian(answer.Body));
}

/// <summary>struct fuse_attr.</summary>
internal readonly record struct Attributes(ulong Inode, ulong Size, ulong Blocks, ulong Accessed, ulong Modified, uint ModifiedNanoseconds, uint Mode, uint Links, uint User, uint Group)
{
    public Attributes(ReadOnlySpan<byte> bytes)
        : this(
            BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]), BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]),
            BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]), BinaryPrimitives.ReadUInt64LittleEndian(bytes[32..]), BinaryPrimitives.ReadUInt32LittleEndian(bytes[52..]),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[60..]), BinaryPrimitives.ReadUInt32LittleEndian(bytes[64..]), BinaryPrimitives.ReadUInt32LittleEndian(bytes[68..]),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[72..]))
    {
    }
}
