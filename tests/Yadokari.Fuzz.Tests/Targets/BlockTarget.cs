using Yadokari.Core.Disks;
using Yadokari.Devices.Virtio;
using Yadokari.Disks;
using Yadokari.Fuzz.Tests.Guests;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>A disk with two queues and an image behind, which is sound when all is over.</summary>
internal sealed class BlockTarget : Target
{
    private const int Size = 1 << 20;
    private static readonly uint[] s_types = [0, 0, 1, 1, 1, 4, 8, 11, 13];

    private readonly string _image;
    private readonly DiskFormat _format;

    public BlockTarget(string folder, DiskFormat format)
    {
        _format = format;
        _image = Path.Combine(folder, "disk");
        DiskFiles.Create(_image, new NewDisk { Size = Size, Format = format, ClusterSize = 4096 });
        Device = new VirtioBlock(Behind(DiskImage.Open(_image, readOnly: false, format)), 0, 2, "disk");
    }

    public override VirtioDevice Device { get; }

    public override Request Make(Random random, int queue)
    {
        uint type = random.Next(20) == 0 ? (uint)random.Next() : s_types[random.Next(s_types.Length)];
        ulong sector = random.Next(20) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(Size / 512);
        int length = random.Next(20) == 0 ? random.Next(10_000) : 512 * random.Next(1, 40);
        byte[] data = type switch
        {
            1 => new byte[length],
            11 or 13 => [.. Enumerable.Range(0, random.Next(1, 4)).SelectMany(_ => Range(random))],
            _ => [],
        };
        if (type == 1)
        {
            random.NextBytes(data);
        }

        return new Request(Mutate(random, [.. BitConverter.GetBytes(type), 0, 0, 0, 0, .. BitConverter.GetBytes(sector), .. data]), 1 + (type == 0 ? length : type == 8 ? 20 : 0));
    }

    public override string Judge(int queue, byte[] reply, uint written) => reply[^1] == 0 ? "ok" : "error";

    public override void Work(Driver driver, Random random)
    {
        int queue = random.Next(driver.Queues);
        byte[] sectors = new byte[3 * 512];
        random.NextBytes(sectors);
        byte[] sector = BitConverter.GetBytes((ulong)random.Next((Size / 512) - 3));
        Assert.Equal([0], driver.Ask(queue, [1, 0, 0, 0, 0, 0, 0, 0, .. sector, .. sectors], 1));
        Assert.Equal([.. sectors, 0], driver.Ask(queue, [0, 0, 0, 0, 0, 0, 0, 0, .. sector], sectors.Length + 1));
    }

    public override void Check(GuardedMemory ram)
    {
        if (_format == DiskFormat.Raw)
        {
            Assert.Equal(Size, new FileInfo(_image).Length);
            return;
        }

        DiskCheck check = DiskFiles.Check(_image, repair: false).Before;
        Assert.True(check.Errors + check.Leaks == 0, string.Join('\n', check.Messages));
    }

    private static byte[] Range(Random random) =>
        [.. BitConverter.GetBytes((ulong)random.Next(Size / 512)), .. BitConverter.GetBytes(random.Next(100)), .. BitConverter.GetBytes(random.Next(8) == 0 ? random.Next(4) : 0)];
}
