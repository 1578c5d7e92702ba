using System.IO.Pipes;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Disks.Tests;

/// <summary>The kernel's ring, with pipes, which end a read when the test wants it.</summary>
public sealed class IoUringTests : IDisposable
{
    private readonly byte[] _memory = GC.AllocateArray<byte>(1 << 16, pinned: true);
    private readonly List<AnonymousPipeServerStream> _pipes = [];
    private readonly IoUring _ring;

    public IoUringTests()
    {
        IoUring? ring = IoUring.TryCreate(8);
        Assert.SkipWhen(ring is null, "this host does not allow io_uring");
        _ring = ring!;
    }

    public void Dispose()
    {
        _ring?.Dispose();
        _pipes.ForEach(p => p.Dispose());
    }

    [Fact]
    public void Reads_end_in_the_order_in_which_the_bytes_come()
    {
        AnonymousPipeServerStream[] pipes = [Pipe(), Pipe(), Pipe()];
        for (int i = 0; i < 3; i++)
        {
            Read(pipes[i], i);
        }

        _ring.Poll(wait: false);
        Assert.False(_ring.TryTake(out _, out _));
        foreach (int i in (int[])[2, 0, 1])
        {
            pipes[i].Write(Encoding.ASCII.GetBytes($"pipe {i}"));
            Assert.Equal((i, 6), Next());
            Assert.Equal($"pipe {i}", Encoding.ASCII.GetString(_memory, i * 1024, 6));
        }
    }

    [Fact]
    public void Pieces_are_filled_in_order()
    {
        AnonymousPipeServerStream pipe = Pipe();
        for (int i = 0; i < IoUring.MaxPieces; i++)
        {
            _ring.Pieces(7)[i] = Piece(IoUring.MaxPieces - 1 - i, 1);
        }

        _ring.Read(Reader(pipe), 0, IoUring.MaxPieces, 7);
        pipe.Write([.. Enumerable.Range(0, IoUring.MaxPieces).Select(i => (byte)i)]);
        Assert.Equal((7, IoUring.MaxPieces), Next());
        Assert.Equal(Enumerable.Range(0, IoUring.MaxPieces).Select(i => (byte)i), _memory.Take(IoUring.MaxPieces).Reverse());
    }

    [Fact]
    public void A_slot_serves_again_and_again()
    {
        AnonymousPipeServerStream pipe = Pipe();
        for (int round = 0; round < 1000; round++)
        {
            for (int slot = 0; slot < _ring.Slots; slot++)
            {
                Read(pipe, slot, 1);
            }

            pipe.Write(new byte[_ring.Slots]);
            Assert.Equal(Enumerable.Range(0, _ring.Slots), Enumerable.Range(0, _ring.Slots).Select(_ => Next().Slot).Order());
        }
    }

    [Fact]
    public void Errors_are_told_of()
    {
        AnonymousPipeServerStream pipe = Pipe();
        _ring.Flush(Reader(pipe), 3);
        Assert.Equal((3, -22), Next()); // EINVAL: a pipe is nothing that lasts.
    }

    [Fact]
    public void A_wake_ends_one_wait_that_is_or_will_be()
    {
        AnonymousPipeServerStream pipe = Pipe();
        Read(pipe, 0);
        for (int round = 0; round < 200; round++)
        {
            using var started = new ManualResetEventSlim();
            var waker = new Thread(() =>
            {
                started.Wait();
                _ring.Wake();
            });
            waker.Start();
            started.Set();
            _ring.Poll(wait: true); // Without the wake nothing would end it.
            Assert.False(_ring.TryTake(out _, out _));
            waker.Join();
        }

        pipe.Write([1]);
        Assert.Equal((0, 1), Next());
    }

    private (int Slot, int Result) Next()
    {
        int slot;
        int result;
        while (!_ring.TryTake(out slot, out result))
        {
            _ring.Poll(wait: true);
        }

        return (slot, result);
    }

    private AnonymousPipeServerStream Pipe()
    {
        var pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        _pipes.Add(pipe);
        return pipe;
    }

    // The reading end is open as long as the pipe is.
    private static SafeFileHandle Reader(AnonymousPipeServerStream pipe) => new(pipe.ClientSafePipeHandle.DangerousGetHandle(), ownsHandle: false);

    private void Read(AnonymousPipeServerStream pipe, int slot, int length = 1024)
    {
        _ring.Pieces(slot)[0] = Piece(slot * 1024, length);
        _ring.Read(Reader(pipe), 0, 1, slot);
    }

    private HostBuffer Piece(int at, int length) => new(System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(_memory, at), length);
}
