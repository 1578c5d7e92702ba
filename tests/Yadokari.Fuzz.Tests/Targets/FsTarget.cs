using System.Buffers.Binary;
using System.Text;
using Yadokari.Devices.Virtio;
using Yadokari.Fuzz.Tests.Guests;
using Yadokari.Shares;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>A folder of the host's with secrets around it, which no guest may see or change.</summary>
internal sealed class FsTarget : Target
{
    private const ulong Root = 1;
    private const int HeaderSize = 40;
    private const uint Allocate = 43;
    private const string Secret = "the host's own";
    private static readonly string[] s_names = ["a", "b", "folder", "c", "file", "out", "up", ".", "..", "../secret", "/etc/passwd", "", "folder/file", new('n', 255), new('n', 300)];
    private static readonly uint[] s_operations = [1, 1, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 14, 15, 16, 17, 18, 20, 26, 27, 27, 28, 29, 30, 35, 35, 36, 38, 42, 43, 44, 45, 46, 47, 50];

    private readonly string _around;
    private readonly string _shared;
    private readonly DateTime _secretWritten;
    private readonly List<ulong> _nodes = [Root];
    private readonly List<ulong> _handles = [0];

    public FsTarget(string folder)
    {
        _around = Directory.CreateDirectory(Path.Combine(folder, "around")).FullName;
        _shared = Directory.CreateDirectory(Path.Combine(_around, "shared")).FullName;
        Directory.CreateDirectory(Path.Combine(_shared, "folder"));
        File.WriteAllText(Path.Combine(_around, "secret"), Secret);
        File.WriteAllText(Path.Combine(_shared, "file"), "the guest's");
        File.CreateSymbolicLink(Path.Combine(_shared, "out"), Path.Combine(_around, "secret"));
        File.CreateSymbolicLink(Path.Combine(_shared, "up"), "..");
        _secretWritten = File.GetLastWriteTimeUtc(Path.Combine(_around, "secret"));
        Device = new VirtioFs(Behind(FolderShare.Open(_shared, readOnly: false, 64)), 0, 2, "tag");
    }

    public override VirtioDevice Device { get; }

    public override Request Make(Random random, int queue)
    {
        uint operation = random.Next(30) == 0 ? (uint)random.Next(60) : s_operations[random.Next(s_operations.Length)];
        ulong node = One(_nodes, random);
        byte[] body = Body(random, operation);
        byte[] bytes = [.. Header(operation, node, HeaderSize + body.Length), .. body];

        // To set room aside goes unmutated: what it asks for might be the host's last.
        return new Request(operation != Allocate && random.Next(3) == 0 ? Mutate(random, bytes) : bytes, random.Next(8) == 0 ? random.Next(20) : 200 + (operation is 15 or 28 or 44 ? random.Next(8192) : 0));
    }

    public override string Judge(int queue, byte[] reply, uint written)
    {
        if (written < 16)
        {
            return "no answer";
        }

        if (BinaryPrimitives.ReadInt32LittleEndian(reply.AsSpan(4)) != 0)
        {
            return "error";
        }

        // An answer about a node begins with its number; one about what was opened, with its handle; about both, with both.
        if (written is 16 + 128 or 16 + 144)
        {
            Learn(_nodes, BinaryPrimitives.ReadUInt64LittleEndian(reply.AsSpan(16)));
        }

        if (written is 16 + 16 or 16 + 144)
        {
            Learn(_handles, BinaryPrimitives.ReadUInt64LittleEndian(reply.AsSpan((int)written - 16)));
        }

        return "ok";
    }

    public override void Work(Driver driver, Random random)
    {
        Learn(_nodes, Root);
        byte[] begun = driver.Ask(1, [.. Header(26, 0, HeaderSize + 16), 7, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 16 + 64);
        Assert.Equal(0, BinaryPrimitives.ReadInt32LittleEndian(begun.AsSpan(4)));
        byte[] root = driver.Ask(2, [.. Header(3, Root, HeaderSize + 16), .. new byte[16]], 16 + 104);
        Assert.Equal(0, BinaryPrimitives.ReadInt32LittleEndian(root.AsSpan(4)));
    }

    public override void Check(GuardedMemory ram)
    {
        Assert.False(ram.Contains(Encoding.UTF8.GetBytes(Secret)), "The secret has been told.");
        Assert.Equal(["secret", "shared"], Directory.EnumerateFileSystemEntries(_around).Select(Path.GetFileName).Order());
        string secret = Path.Combine(_around, "secret");
        Assert.Equal(Secret, File.ReadAllText(secret));
        Assert.Equal(_secretWritten, File.GetLastWriteTimeUtc(secret));
        Assert.Equal([_around], Directory.EnumerateFileSystemEntries(Path.GetDirectoryName(_around)!));
    }

    private byte[] Body(Random random, uint operation)
    {
        ulong handle = One(_handles, random);
        ulong Where() => random.Next(8) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(10_000);
        byte[] Name() => [.. Encoding.UTF8.GetBytes(s_names[random.Next(s_names.Length)]), 0];
        uint Mode() => random.Next(4) == 0 ? (uint)random.Next(0x1_0000) : random.Next(2) == 0 ? 0x81A4u : 0x1EDu;
        byte[] data = operation == 16 ? new byte[random.Next(3000)] : [];
        return operation switch
        {
            1 or 10 or 11 => Name(),
            2 => Put(1ul),
            3 => Put(random.Next(2) == 0 ? 1u : 0, 0u, handle),
            4 => Put((uint)random.Next(1 << 10), 0u, handle, Where(), 0ul, 0ul, 0ul, 0ul, 0u, 0u, 0u, Mode(), 0u, (uint)random.Next(2), (uint)random.Next(2), 0u),
            6 => [.. Name(), .. Name()],
            8 => [.. Put(Mode(), (uint)random.Next(0x1000), 0u, 0u), .. Name()],
            9 => [.. Put(Mode(), 0u), .. Name()],
            12 => [.. Put(One(_nodes, random)), .. Name(), .. Name()],
            13 => [.. Put(One(_nodes, random)), .. Name()],
            14 or 27 => Put(random.Next(4) == 0 ? (uint)random.Next() : (uint)random.Next(3), 0u),
            15 or 28 or 44 => Put(handle, Where(), (uint)random.Next(9000), 0u, 0ul, 0u, 0u),
            16 => [.. Put(handle, Where(), (uint)data.Length, 0u, 0ul, random.Next(4) == 0 ? (uint)random.Next() : 0u, 0u), .. data],
            18 or 29 => Put(handle, 0ul, 0ul),
            20 or 30 => Put(handle, 0ul),
            26 => Put(random.Next(8) == 0 ? (uint)random.Next(10) : 7u, 36u, 0u, uint.MaxValue),
            35 => [.. Put((uint)random.Next(3) | (random.Next(4) == 0 ? (uint)random.Next() : 0), Mode(), 0u, 0u), .. Name()],
            42 => Put((uint)random.Next(4), 0u, One(_nodes, random), 1ul, One(_nodes, random), 1ul),
            Allocate => Put(handle, (ulong)random.Next(10_000), (ulong)random.Next(10_000), (uint)random.Next(4), 0u),
            45 => [.. Put(One(_nodes, random), (uint)random.Next(4), 0u), .. Name(), .. Name()],
            46 => Put(handle, Where(), (uint)random.Next(6), 0u),
            47 => Put(handle, Where(), One(_nodes, random), One(_handles, random), Where(), (ulong)random.Next(10_000), 0ul),
            _ => new byte[random.Next(64)],
        };
    }

    private static byte[] Header(uint operation, ulong node, int length) => Put((uint)length, operation, 77ul, node, 0u, 0u, 0u, 0u);

    private static byte[] Put(params object[] numbers) => [.. numbers.SelectMany(number => number is uint small ? BitConverter.GetBytes(small) : BitConverter.GetBytes((ulong)number))];

    // Each thread of a guest's may ask while another learns.
    private static ulong One(List<ulong> known, Random random)
    {
        lock (known)
        {
            return random.Next(20) == 0 ? (ulong)random.Next(50) : known[random.Next(known.Count)];
        }
    }

    private static void Learn(List<ulong> known, ulong number)
    {
        lock (known)
        {
            known.Add(number);
            if (known.Count > 20)
            {
                known.RemoveAt(0);
            }
        }
    }
}
