using System.Buffers.Binary;
using System.Net.Sockets;
using Yadokari.Core;
using Yadokari.Core.Networks;
using Yadokari.Linux;
using Yadokari.Networks.Streams;

namespace Yadokari.Networks.Tests;

public sealed class FrameStreamTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("yado-frames-").FullName;
    private readonly Socket _other;
    private readonly FrameStream _stream;

    public FrameStreamTests()
    {
        string path = Path.Combine(_folder, "socket");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        HostSocket socket = HostSocket.OpenLocal()!;
        Assert.Equal(0, socket.ConnectLocal(path));
        _other = listener.Accept();
        _stream = new FrameStream(socket);
    }

    public void Dispose()
    {
        _stream.Dispose();
        _other.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void A_host_that_waits_for_no_more_is_told_of_and_leaves_nothing_behind()
    {
        // As with one watch too many, epoll does not take what is closed, nor does one that is closed take anything.
        HostSocket closed = HostSocket.OpenLocal()!;
        closed.Dispose();
        Assert.Contains("fs.epoll.max_user_watches", Assert.ThrowsAny<UserErrorException>(() => new FrameStream(closed)).Message);

        string path = Path.Combine(_folder, "listener");
        var epoll = new Epoll();
        epoll.Dispose();
        Assert.Contains("fs.epoll.max_user_watches", Assert.ThrowsAny<UserErrorException>(() => LocalListener.Open(path, epoll, 0)).Message);
        Assert.False(File.Exists(path));
    }

    [Fact]
    public async Task A_side_that_does_not_read_holds_nobody_up_and_sees_whole_frames()
    {
        const int frames = 5000;
        var sender = new Thread(() =>
        {
            for (int i = 0; i < frames; i++)
            {
                _stream.Send(Frame(i));
            }
        })
        { IsBackground = true };
        sender.Start();
        Assert.True(sender.Join(s_patience), "Sending waits for the other side.");

        // What was not lost is there in its order, however the pieces were cut; and then the way is free again.
        Task<int> reading = Task.Run(() =>
        {
            int count = 0;
            for (int last = -1; last < frames; count++)
            {
                byte[] frame = Read(BinaryPrimitives.ReadInt32BigEndian(Read(sizeof(int))));
                int number = BinaryPrimitives.ReadInt32BigEndian(frame);
                Assert.True(number > last);
                Assert.Equal(Frame(number), frame);
                last = number;
            }

            return count;
        }, TestContext.Current.CancellationToken);
        do
        {
            _stream.Send(Frame(frames));
        }
        while (await Task.WhenAny(reading, Task.Delay(1, TestContext.Current.CancellationToken)) != reading); // Not so many that the reader gets nothing else.

        Assert.InRange(await reading, 100, frames - 100);
    }

    [Fact]
    public void Frames_come_whole_however_they_are_cut()
    {
        byte[][] frames = [new byte[1], new byte[INetwork.MaxFrameSize], [], new byte[1514], .. Enumerable.Range(0, 50).Select(Frame)];
        byte[] bytes = [.. frames.SelectMany(f => (byte[])[(byte)(f.Length >> 24), (byte)(f.Length >> 16), (byte)(f.Length >> 8), (byte)f.Length, .. f])];
        var random = new Random(3);
        var sender = new Thread(() =>
        {
            for (int at = 0; at < bytes.Length;)
            {
                at += _other.Send(bytes, at, Math.Min(random.Next(1, 3000), bytes.Length - at), SocketFlags.None);
            }
        })
        { IsBackground = true };
        using var arrived = new AutoResetEvent(false);
        _stream.Arrived = () => arrived.Set();
        sender.Start();
        foreach (byte[] expected in frames.Where(f => f.Length > 0))
        {
            ReadOnlySpan<byte> frame;
            while (!_stream.Queue.TryPeek(out frame, out _))
            {
                Assert.True(arrived.WaitOne(s_patience));
            }

            Assert.True(frame.SequenceEqual(expected));
            _stream.Queue.Release();
        }

        sender.Join();
    }

    private static byte[] Frame(int number)
    {
        byte[] frame = new byte[60 + (number * 37 % 1400)];
        frame.AsSpan().Fill((byte)number);
        BinaryPrimitives.WriteInt32BigEndian(frame, number);
        return frame;
    }

    private byte[] Read(int count)
    {
        byte[] bytes = new byte[count];
        _other.ReceiveTimeout = (int)s_patience.TotalMilliseconds;
        for (int at = 0; at < count;)
        {
            int got = _other.Receive(bytes.AsSpan(at));
            Assert.True(got > 0);
            at += got;
        }

        return bytes;
    }
}
