using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Memory;
using Yadokari.Core.Shares;

namespace Yadokari.Devices.Virtio;

/// <summary>A file system device for a shared folder of the host (virtio 1.2, 5.11): passes FUSE requests to a file server, which transfers file data in place, to and from guest memory.</summary>
public sealed class VirtioFs : VirtioDevice
{
    /// <summary>The maximum length of a tag, in bytes.</summary>
    public const int MaxTagLength = 36;

    private const ushort FirstEntries = 128;

    // Pages of the largest read or write, and its headers: the driver sends no request larger than the ring.
    private const ushort Entries = 1024;

    private readonly IFileServer _server;
    private readonly byte[] _config = new byte[MaxTagLength + 4];
    private readonly Buffers?[] _buffers;

    /// <summary>Creates the device. Does not own <paramref name="server"/>.</summary>
    /// <param name="server">The FUSE server of the folder.</param>
    /// <param name="number">Number of the device in the machine, from 0.</param>
    /// <param name="queues">Number of request queues.</param>
    /// <param name="tag">The tag by which the guest mounts it: <see cref="MaxTagLength"/> bytes at most.</param>
    public VirtioFs(IFileServer server, int number, int queues, string tag)
    {
        _server = server;
        Name = $"fs{number}";
        Encoding.UTF8.GetBytes(tag, _config);
        BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(MaxTagLength), (uint)queues);
        QueueSizes = [FirstEntries, .. Enumerable.Repeat(Entries, queues)];
        _buffers = new Buffers?[1 + queues];
    }

    /// <summary>Buffers of a queue's thread.</summary>
    private sealed class Buffers
    {
        public readonly byte[] Head = new byte[IFileServer.MaxHead];
        public readonly byte[] Reply = new byte[IFileServer.MaxReply];
        public readonly HostBuffer[] Data = new HostBuffer[DescriptorChain.MaxBuffers];
        public readonly HostBuffer[] Room = new HostBuffer[DescriptorChain.MaxBuffers];
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
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        Buffers buffers = _buffers[number] ??= new Buffers();
        while (queue.TryPop(chain))
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
            queue.Push(chain, (uint)(written + reply.Placed));
            notifyDriver();
        }

        return true;
    }

    // Host addresses of guest buffers, without their first bytes (skip).
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
