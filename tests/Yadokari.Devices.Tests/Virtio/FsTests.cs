using System.Text;
using Yadokari.Core.Memory;
using Yadokari.Core.Shares;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>Requests reach the server and its answers the guest, however the driver cuts both into buffers.</summary>
public sealed class FsTests : IDisposable
{
    private const ulong Ring = 0x1_0000;
    private const ulong Request = 0x2_0000;
    private const ulong Answer = 0x4_0000;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 4 << 20)]);
    private readonly List<(ulong Gpa, ulong Length)> _written = [];
    private readonly Server _server = new();
    private readonly VirtioFs _device;
    private readonly Dma _dma;

    public FsTests()
    {
        _device = new VirtioFs(_server, 0, 3, "/a/place");
        _dma = new Dma(_memory, (gpa, length) => _written.Add((gpa, length)));
    }

    public void Dispose()
    {
        _device.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void The_tag_and_the_queues_are_told()
    {
        byte[] config = new byte[40];
        _device.ReadConfig(0, config);
        Assert.Equal("/a/place" + new string('\0', 28), Encoding.ASCII.GetString(config[..36]));
        Assert.Equal(3u, BitConverter.ToUInt32(config, 36));
        Assert.Equal(4, _device.QueueSizes.Count);
        _device.ReadConfig(int.MaxValue, config);
        Assert.Equal(26, _device.Type);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(16)]
    [InlineData(80)]
    [InlineData(100)]
    [InlineData(5000)]
    public void Bytes_arrive_in_place(int piece)
    {
        byte[] request = [.. Enumerable.Range(0, 500).Select(i => (byte)(i * 7))];
        _memory.Write(Request, request);
        _server.Reply = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        _server.Placed = 300;
        Assert.Equal(316u, Serve(1, [.. Cut(Request, 500, piece, false), .. Cut(Answer, 400, piece, true)]));
        Assert.Equal(request, _server.Head);
        Assert.Equal(request[80..], _server.Data);
        byte[] answer = new byte[400];
        _memory.Read(Answer, answer);
        Assert.Equal(_server.Reply, answer[..16]);
        Assert.All(answer[16..316], b => Assert.Equal(0xAB, b));
        Assert.All(answer[316..], b => Assert.Equal(0, b));

        // Whoever keeps code of these pages hears of each byte that was written.
        bool[] heard = new bool[316];
        foreach ((ulong gpa, ulong length) in _written.Where(w => w.Gpa is >= Answer and < Answer + 400))
        {
            heard.AsSpan((int)(gpa - Answer), (int)length).Fill(true);
        }

        Assert.DoesNotContain(false, heard);
    }

    [Fact]
    public void Requests_without_answers_and_answers_without_room_come_back()
    {
        _server.Reply = [];
        Assert.Equal(0u, Serve(0, [(Request, 48, false)]));
        _server.Reply = new byte[100];
        Assert.Equal(10u, Serve(2, [(Request, 48, false), (Answer, 10, true)]));
        Assert.Equal(0u, Serve(3, [(Answer, 0, true)]));
        Assert.Empty(_server.Head);
    }

    private static IEnumerable<(ulong Gpa, uint Length, bool Writable)> Cut(ulong gpa, int length, int piece, bool writable) =>
        Enumerable.Range(0, (length + piece - 1) / piece).Select(i => (gpa + (ulong)(i * piece), (uint)Math.Min(piece, length - (i * piece)), writable));

    private uint Serve(int number, (ulong Gpa, uint Length, bool Writable)[] buffers)
    {
        // More buffers than a ring has entries lie in a table.
        const ulong Table = 0x8_0000;
        _memory.Write(Table, [.. buffers.SelectMany((b, i) => (byte[])[.. BitConverter.GetBytes(b.Gpa), .. BitConverter.GetBytes(b.Length),
            .. BitConverter.GetBytes((ushort)((i + 1 < buffers.Length ? 1 : 0) | (b.Writable ? 2 : 0))), .. BitConverter.GetBytes((ushort)(i + 1))])]);
        var driver = new DriverQueue(_memory, Ring, 16, packed: false);
        driver.Add(false, (Table, (uint)buffers.Length * 16, false));
        _memory.Write(driver.Addresses.Descriptors + 12, [4, 0]); // That table is an indirect one.
        Virtqueue queue = Virtqueue.Create(_dma, driver.Addresses, 16, VirtioFeatures.IndirectDescriptors)!;
        _device.Process(number, queue, new DescriptorChain(_dma), () => { });
        Assert.False(queue.IsBroken);
        return driver.Take()!.Value.Written;
    }

    private sealed class Server : IFileServer
    {
        public byte[] Reply { get; set; } = [];

        public int Placed { get; set; }

        public byte[] Head { get; private set; } = [];

        public byte[] Data { get; private set; } = [];

        public FileReply Serve(in FileRequest request)
        {
            Head = request.Head.ToArray();
            Data = [.. request.Data.ToArray().SelectMany(piece => piece.Bytes.ToArray())];
            Reply.CopyTo(request.Reply);
            int left = Placed;
            foreach (HostBuffer piece in request.Room)
            {
                int some = (int)Math.Min(left, piece.Length);
                piece.Bytes[..some].Fill(0xAB);
                left -= some;
            }

            return new FileReply(Reply.Length, Placed - left);
        }

        public void Reset()
        {
        }

        public void Dispose()
        {
        }
    }
}
