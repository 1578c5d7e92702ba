namespace Yadokari.Devices.IsaDma;

/// <summary>
/// The registers of an Intel 8237A DMA controller (data sheet 231466, "Register description"): four channels. Memory-to-memory transfers,
/// which no PC has wired, are not done. Not thread safe: guarded by the lock of <see cref="IsaDmaController"/>.
/// </summary>
internal sealed class Dma8237
{
    /// <summary>Registers, from the first port on.</summary>
    public const int Registers = 16;

    /// <summary>Channels.</summary>
    public const int Channels = 4;

    // Registers behind the channels' addresses and counts.
    private const int StatusAndCommand = 0x8;
    private const int Request = 0x9;
    private const int SingleMask = 0xA;
    private const int Mode = 0xB;
    private const int ClearFlipFlop = 0xC;
    private const int TemporaryAndMasterClear = 0xD;
    private const int ClearMask = 0xE;
    private const int AllMasks = 0xF;

    private const byte ChannelBits = 0x03;
    private const byte SetBit = 0x04; // Of the request and single mask registers.
    private const byte AllChannels = 0x0F;
    private const byte ControllerDisabled = 0x04;

    private const byte AutoInitialize = 0x10;
    private const byte Decrement = 0x20;
    private const byte Cascade = 0xC0; // Both bits.

    private readonly Channel[] _channels = new Channel[Channels];
    private byte _command;
    private byte _mask;
    private byte _terminalCounts;
    private byte _requests; // By software.
    private byte _waiting; // Pending DREQs of devices.
    private bool _highByte; // The flip-flop: which half of a 16-bit register comes next.

    private struct Channel
    {
        public ushort BaseAddress;
        public ushort BaseCount;
        public ushort Address;
        public ushort Count;
        public byte Mode;
        public int Version; // Incremented when the channel is programmed, so that a transfer in flight does not update the new address and count.
    }

    /// <summary>A part of a transfer that may be moved now.</summary>
    /// <param name="Address">The 16-bit address.</param>
    /// <param name="Units">Bytes or words that are left until terminal count.</param>
    /// <param name="Downwards">Whether the address decrements.</param>
    /// <param name="Kind">Which way.</param>
    /// <param name="Version">For <see cref="Advance"/>.</param>
    public readonly record struct Piece(ushort Address, int Units, bool Downwards, DmaKind Kind, int Version);

    /// <summary>What RESET and a master clear do. Addresses, counts and modes stay as they were after the latter.</summary>
    /// <param name="all">RESET at power-on: they are zero.</param>
    public void Reset(bool all)
    {
        _command = _terminalCounts = _requests = 0;
        _mask = AllChannels;
        _highByte = false;
        if (all)
        {
            Array.Clear(_channels);
            _waiting = 0;
        }
    }

    /// <summary>Reads a register from 0 to 15.</summary>
    public byte Read(int register)
    {
        switch (register)
        {
            case < StatusAndCommand:
                ref Channel channel = ref _channels[register >> 1];
                ushort value = (register & 1) == 0 ? channel.Address : channel.Count;
                _highByte = !_highByte;
                return (byte)(_highByte ? value : value >> 8);
            case StatusAndCommand:
                byte status = (byte)(_terminalCounts | ((_requests | _waiting) << 4));
                _terminalCounts = 0;
                return status;
            case TemporaryAndMasterClear:
                return 0; // The temporary register holds what a memory-to-memory transfer moved.
            case AllMasks:
                return _mask; // Not of the 8237A itself, but of every chipset that has one inside.
            default:
                return byte.MaxValue;
        }
    }

    /// <summary>Writes a register from 0 to 15.</summary>
    public void Write(int register, byte value)
    {
        byte bit = (byte)(1 << (value & ChannelBits));
        switch (register)
        {
            case < StatusAndCommand:
                ref Channel channel = ref _channels[register >> 1];
                ref ushort half = ref (register & 1) == 0 ? ref channel.BaseAddress : ref channel.BaseCount;
                half = (ushort)(_highByte ? (half & 0xFF) | (value << 8) : (half & 0xFF00) | value);
                ((register & 1) == 0 ? ref channel.Address : ref channel.Count) = half;
                channel.Version++;
                _highByte = !_highByte;
                break;
            case StatusAndCommand:
                _command = value;
                break;
            case Request:
                _requests = (byte)((value & SetBit) != 0 ? _requests | bit : _requests & ~bit);
                break;
            case SingleMask:
                _mask = (byte)((value & SetBit) != 0 ? _mask | bit : _mask & ~bit);
                break;
            case Mode:
                _channels[value & ChannelBits].Mode = value;
                _channels[value & ChannelBits].Version++;
                break;
            case ClearFlipFlop:
                _highByte = false;
                break;
            case TemporaryAndMasterClear:
                Reset(all: false);
                break;
            case ClearMask:
                _mask = 0;
                break;
            case AllMasks:
                _mask = (byte)(value & AllChannels);
                break;
        }
    }

    /// <summary>Whether a channel has a pending DREQ that would be served now.</summary>
    public bool IsReady(int channel) => (_waiting & (1 << channel)) != 0 && IsOpen(channel);

    /// <summary>A device deasserts its DREQ.</summary>
    public void Withdraw(int channel) => _waiting &= (byte)~(1 << channel);

    /// <summary>A device asserts its DREQ: returns the part that may be moved now. False if the DREQ stays pending.</summary>
    public bool TryBegin(int channel, out Piece piece)
    {
        ref Channel c = ref _channels[channel];
        piece = new Piece(c.Address, c.Count + 1, (c.Mode & Decrement) != 0, (DmaKind)((c.Mode >> 2) & 3), c.Version);
        bool open = IsOpen(channel);
        _waiting = (byte)(open ? _waiting & ~(1 << channel) : _waiting | (1 << channel));
        return open;
    }

    /// <summary>So many bytes or words were moved. Returns whether that was terminal count.</summary>
    public bool Advance(int channel, int version, int units)
    {
        ref Channel c = ref _channels[channel];
        if (c.Version != version)
        {
            return false; // The channel was reprogrammed during the transfer.
        }

        c.Address = (ushort)((c.Mode & Decrement) != 0 ? c.Address - units : c.Address + units);
        bool terminal = units > c.Count;
        c.Count = (ushort)(c.Count - units);
        if (!terminal)
        {
            return false;
        }

        byte bit = (byte)(1 << channel);
        _terminalCounts |= bit;
        _requests &= (byte)~bit;
        if ((c.Mode & AutoInitialize) != 0)
        {
            c.Address = c.BaseAddress;
            c.Count = c.BaseCount;
        }
        else
        {
            _mask |= bit;
        }

        return true;
    }

    private bool IsOpen(int channel) =>
        (_command & ControllerDisabled) == 0 && (_mask & (1 << channel)) == 0 && (_channels[channel].Mode & Cascade) != Cascade;
}

/// <summary>The kind of transfer that a channel is programmed for (mode register, bits 2 and 3).</summary>
internal enum DmaKind
{
    /// <summary>Nothing is moved, only counted.</summary>
    Verify,

    /// <summary>The data sheet's write transfer.</summary>
    ToMemory,

    /// <summary>The data sheet's read transfer.</summary>
    FromMemory,

    /// <summary>Both bits: illegal. Nothing is moved.</summary>
    Illegal,
}
