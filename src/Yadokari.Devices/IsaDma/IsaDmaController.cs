using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.IsaDma;

/// <summary>
/// The DMA controllers of a PC/AT: two 8237As, the first for bytes (channels 0 to 3), the second for words (5 to 7; its channel 4 is where
/// the first is cascaded, and lets it through whatever it is programmed for), and the page registers with the upper eight address bits
/// (IBM PC/AT technical reference, "System DMA"). Addresses are below 16 MiB and stay within a page of 64 KiB, of the second 128 KiB. What is
/// not RAM ignores writes and reads as all ones.
/// </summary>
public sealed class IsaDmaController : IPassiveDevice
{
    /// <summary>Ports of the first controller.</summary>
    public const int FirstLength = Dma8237.Registers;

    /// <summary>Ports of the second controller: two for each register.</summary>
    public const int SecondLength = 2 * Dma8237.Registers;

    /// <summary>Page registers, from the one at port 81h on. Those that belong to no channel keep what is written.</summary>
    public const int PagesLength = 15;

    private const int HostPage = 4096;

    // Where each channel's page register is, from port 81h.
    private static readonly byte[] s_pages = [6, 2, 0, 1, 14, 10, 8, 9];

    private readonly Lock _lock = new(); // Innermost: guest memory and devices are accessed after it is released.
    private readonly Dma _memory;
    private readonly Dma8237 _first = new();
    private readonly Dma8237 _second = new();
    private readonly byte[] _pages = new byte[PagesLength];
    private readonly IsaDmaChannel[] _channels;

    /// <summary>Makes both.</summary>
    /// <param name="memory">Guest memory.</param>
    public IsaDmaController(Dma memory)
    {
        _memory = memory;
        _channels = [.. Enumerable.Range(0, 2 * Dma8237.Channels).Select(n => new IsaDmaChannel(this, n))];
        First = new BytePorts(FirstLength, r => Read(_first, r), (r, value) => Write(_first, r, value, 0));
        Second = new BytePorts(SecondLength, r => Read(_second, r >> 1), (r, value) => Write(_second, r >> 1, value, Dma8237.Channels));
        Pages = new BytePorts(PagesLength, ReadPage, WritePage);
        Reset();
    }

    /// <summary>The first controller's registers, at port 0.</summary>
    public IBusDevice First { get; }

    /// <summary>The second controller's registers, at port C0h.</summary>
    public IBusDevice Second { get; }

    /// <summary>The page registers, at port 81h.</summary>
    public IBusDevice Pages { get; }

    /// <summary>A channel, from 0 to 7, for the one device on it.</summary>
    public IsaDmaChannel Channel(int number) => _channels[number];

    /// <inheritdoc/>
    public string Name => "isa-dma";

    /// <summary>The state after power-on: all channels are masked.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _first.Reset(all: true);
            _second.Reset(all: true);
            Array.Clear(_pages);
        }
    }

    internal void Withdraw(int channel)
    {
        lock (_lock)
        {
            Chip(channel).Withdraw(channel & 3);
        }
    }

    internal int Move(int channel, Span<byte> data, bool toMemory, out bool terminalCount)
    {
        Dma8237 chip = Chip(channel);
        int shift = channel >> 2; // The second controller counts words.
        int left = data.Length >> shift;
        int done = 0;
        terminalCount = false;
        while (left > 0 && !terminalCount)
        {
            Dma8237.Piece piece;
            ulong gpa;
            lock (_lock)
            {
                if (!chip.TryBegin(channel & 3, out piece))
                {
                    break;
                }

                gpa = ((ulong)(_pages[s_pages[channel]] & ~shift) << 16) + ((ulong)piece.Address << shift);
            }

            // As far as addresses rise in one piece of memory, or a single one.
            int ahead = piece.Downwards ? 1 : 0x1_0000 - piece.Address;
            int inPage = Math.Max(1, (HostPage - (int)(gpa & (HostPage - 1))) >> shift);
            int units = Math.Min(Math.Min(left, piece.Units), Math.Min(ahead, inPage));
            Copy(data.Slice(done, units << shift), gpa, toMemory, piece.Kind);
            lock (_lock)
            {
                terminalCount = chip.Advance(channel & 3, piece.Version, units);
            }

            done += units << shift;
            left -= units;
        }

        return done;
    }

    private void Copy(Span<byte> data, ulong gpa, bool toMemory, DmaKind kind)
    {
        if (toMemory)
        {
            if (kind == DmaKind.ToMemory)
            {
                _ = _memory.TryWrite(gpa, data);
            }
        }
        else if (kind != DmaKind.FromMemory || !_memory.TryRead(gpa, data))
        {
            data.Fill(byte.MaxValue);
        }
    }

    private Dma8237 Chip(int channel) => channel < Dma8237.Channels ? _first : _second;

    private byte Read(Dma8237 chip, int register)
    {
        lock (_lock)
        {
            return chip.Read(register);
        }
    }

    private void Write(Dma8237 chip, int register, byte value, int firstChannel)
    {
        byte ready = 0;
        lock (_lock)
        {
            chip.Write(register, value);
            for (int i = 0; i < Dma8237.Channels; i++)
            {
                ready |= (byte)(chip.IsReady(i) ? 1 << i : 0);
            }
        }

        for (int i = 0; ready != 0; i++, ready >>= 1)
        {
            if ((ready & 1) != 0)
            {
                _channels[firstChannel + i].OnReady();
            }
        }
    }

    private byte ReadPage(int register)
    {
        lock (_lock)
        {
            return _pages[register];
        }
    }

    private void WritePage(int register, byte value)
    {
        lock (_lock)
        {
            _pages[register] = value;
        }
    }
}

/// <summary>A DMA channel as the device on it has it: DREQ, DACK and TC. Any thread that is no vCPU's, one at a time, with no lock held that a vCPU may wait for.</summary>
public sealed class IsaDmaChannel
{
    private readonly IsaDmaController _controller;
    private readonly int _number;

    internal IsaDmaChannel(IsaDmaController controller, int number) => (_controller, _number) = (controller, number);

    /// <summary>Raised when a pending DREQ can be served. On the thread of the vCPU that programmed the channel, with no lock held; handlers must not block.</summary>
    public event Action? Ready;

    /// <summary>Moves bytes from the device to memory.</summary>
    /// <param name="data">The bytes.</param>
    /// <param name="terminalCount">Whether the channel's count ran out with the last one moved.</param>
    /// <returns>Bytes moved. If fewer than all without terminal count, DREQ stays pending: the device continues at <see cref="Ready"/>.</returns>
    public int Write(Span<byte> data, out bool terminalCount) => _controller.Move(_number, data, toMemory: true, out terminalCount);

    /// <summary>Moves bytes from memory to the device; as <see cref="Write"/>.</summary>
    public int Read(Span<byte> data, out bool terminalCount) => _controller.Move(_number, data, toMemory: false, out terminalCount);

    /// <summary>Deasserts DREQ. Any thread.</summary>
    public void Withdraw() => _controller.Withdraw(_number);

    internal void OnReady() => Ready?.Invoke();
}
