using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Memory;
using Yadokari.Core.Shares;

namespace Yadokari.Devices.Virtio;

/// <summary>A folder of the host's (virtio 1.2, 5.11): carries the guest's requests to who serves them, and the bytes of files in place.</summary>
public sealed class VirtioFs : VirtioDevice
{
    /// <summary>The longest tag, in bytes.</summary>
    public const int LongestTag = 36;

    private const ushort FirstEntries = 128;

    // Pages of the longest read or write, and what goes with them: the driver asks for no more than has room in the ring.
    private const ushort Entries = 1024;

    private readonly IFileServer _server;
    private readonly byte[] _config = new byte[LongestTag + 4];
    private readonly Buffers?[] _buffers;

    /// <summary>Makes a share. The server stays the caller's.</summary>
    /// <param name="server">Who has the files.</param>
    /// <param name="number">Counts the shares of a machine, from 0.</param>
    /// <param name="queues">How many queues for requests.</param>
    /// <param name="tag">By which the guest mounts it: of <see cref="LongestTag"/> bytes at most.</param>
    public VirtioFs(IFileServer server, int number, int queues, string tag)
    {
        _server = server;
        Name = $"fs{number}";
        Encoding.UTF8.GetBytes(tag, _config);
        BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(LongestTag), (uint)queues);
        QueueSizes = [FirstEntries, .. Enumerable.Repeat(Entries, queues)];
        _buffers = new Buffers?[1 + queues];
    }

    /// <summary>What a queue's thread works with.</summary>
    private sealed class Buffers
    {
        public readonly byte[] Head = new byte[IFileServer.MostHead];
        public readonly byte[] Reply = new byte[IFileServer.MostReply];
        public readonly HostBuffer[] Data = new HostBuffer[DescriptorChain.MostBuffers];
        public readonly HostBuffer[] Room = new HostBuffer[DescriptorChain.MostBuffers];
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override ushort Type => 26;

    /// <inheritdoc/>
    public override uint ClassCode => 0x01_80_00;

    /// <inheritdoc/>
    public override IReadOnlyList<ushort> QueueSizes { get; }

    /// <inheritdoc/>
    public override int ConfigSize => _config.Length;

    /// <inheritdoc/>
    public override void ReadConfig(int offset, Span<byte> data) => CopyConfig(_config, offset, data);

    /// <inheritdoc/>
    public override void Stop() => _server.Reset();

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action returned)
    {
        Buffers buffers = _buffers[number] ??= new Buffers();
        while (queue.TryTake(chain))
        {
            FileReply reply = _server.Serve(new FileRequest
            {
                Head = buffers.Head.AsSpan(0, chain.Read(0, buffers.Head)),
                Data = Locate(chain.Readable, IFileServer.DataOffset, buffers.Data, queue.Dma),
                Reply = buffers.Reply,
                Room = Locate(chain.Writable, IFileServer.RoomOffset, buffers.Room, queue.Dma),
            });
            int written = chain.Write(0, buffers.Reply.AsSpan(0, reply.Length));
            TellWritten(chain, reply.Placed, queue.Dma);
            queue.Return(chain, (uint)(written + reply.Placed));
            returned();
        }

        return true;
    }

    // Where buffers lie, but for their first bytes.
    private static Span<HostBuffer> Locate(ReadOnlySpan<GuestBuffer> buffers, int skip, HostBuffer[] to, Dma dma)
    {
        int count = 0;
        foreach ((ulong gpa, int length) in buffers)
        {
            int head = Math.Min(skip, length);
            skip -= head;
            if (head < length)
            {
                if (!dma.TryLocate(gpa + (ulong)head, length - head, out to[count]))
                {
                    break;
                }

                count++;
            }
        }

        return to.AsSpan(0, count);
    }

    private static void TellWritten(DescriptorChain chain, long placed, Dma dma)
    {
        int skip = IFileServer.RoomOffset;
        foreach ((ulong gpa, int length) in chain.Writable)
        {
            int head = Math.Min(skip, length);
            skip -= head;
            long piece = Math.Min(length - head, placed);
            if (piece > 0)
            {
                dma.Written(gpa + (ulong)head, (ulong)piece);
                placed -= piece;
            }
        }
    }
}
