using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Disks;

namespace Yadokari.Devices.Storage;

/// <summary>A CD-ROM drive with a disc of 2048-byte blocks in it (ATA/ATAPI-6, 9.8; MMC-5 for the packets).</summary>
/// <param name="image">The disc. Not owned.</param>
public sealed class AtapiCdrom(IDisk image) : IAtaDevice
{
    /// <summary>Bytes of a block.</summary>
    public const int Block = 2048;

    // Bits of the sector count register, called the interrupt reason here.
    private const byte IsCommand = 1;
    private const byte ToHost = 2;

    private const byte IllegalRequest = 5;
    private const byte MediumError = 3;

    private readonly uint _blocks = (uint)Math.Min(image.Length / Block, uint.MaxValue);
    private bool _packet;
    private int _limit;
    private uint _next;
    private uint _left;
    private byte _senseKey;
    private byte _senseCode;

    // What is left of an answer longer than the host takes at once.
    private byte[] _answer = [];
    private int _given;

    /// <inheritdoc/>
    public void Reset(AtaRegisters registers)
    {
        SetSignature(registers);
        _packet = false;
        _left = 0;
        _answer = [];
        _given = 0;
    }

    /// <inheritdoc/>
    public AtaPhase Begin(byte command, AtaRegisters registers, byte[] buffer, out int length)
    {
        length = 0;
        _left = 0;
        _answer = [];
        _given = 0;
        _packet = false;
        switch (command)
        {
            case 0xA0:
                int limit = (registers.Middle & 0xFF) | ((registers.High & 0xFF) << 8);
                _limit = limit == 0 ? 0xFFFE : Math.Max(limit & ~1, 2);
                registers.Count = IsCommand;
                _packet = true;
                return AtaPhase.Packet;
            case 0xA1:
                Identify(buffer);
                length = 512;
                return AtaPhase.DataIn;
            case 0x08:
                Reset(registers);
                return AtaPhase.Done;
            case 0xEF or 0xE0 or 0xE1 or 0xE2 or 0xE3 or 0xE7:
                return AtaPhase.Done;
            case 0xEC:
                SetSignature(registers);
                goto default;
            default:
                registers.Error = 0x04;
                return AtaPhase.Failed;
        }
    }

    /// <inheritdoc/>
    public AtaPhase Continue(AtaRegisters registers, byte[] buffer, out int length)
    {
        length = 0;
        if (_packet)
        {
            _packet = false;
            return Execute(buffer.AsSpan(0, 12), registers, buffer, out length);
        }

        return Give(registers, buffer, out length);
    }

    private static void SetSignature(AtaRegisters registers)
    {
        registers.Count = 1;
        registers.Low = 1;
        registers.Middle = 0x14;
        registers.High = 0xEB;
    }

    private AtaPhase Execute(ReadOnlySpan<byte> packet, AtaRegisters registers, byte[] buffer, out int length)
    {
        length = 0;
        byte operation = packet[0];
        if (operation != 0x03)
        {
            _senseKey = 0;
            _senseCode = 0;
        }

        switch (operation)
        {
            case 0x00 or 0x1B or 0x1E or 0x35:
                // Test unit ready, start and stop, prevent removal, synchronise.
                return Finish(registers);
            case 0x03:
                byte[] sense = new byte[18];
                sense[0] = 0x70;
                sense[2] = _senseKey;
                sense[7] = 10;
                sense[12] = _senseCode;
                return Answer(sense, packet[4], registers, buffer, out length);
            case 0x12:
                byte[] inquiry = new byte[36];
                inquiry[0] = 5;
                inquiry[1] = 0x80;
                inquiry[3] = 0x21;
                inquiry[4] = 31;
                Encoding.ASCII.GetBytes("YADOKARICD-ROM          1.0 ", inquiry.AsSpan(8));
                return Answer(inquiry, packet[4], registers, buffer, out length);
            case 0x25:
                byte[] capacity = new byte[8];
                BinaryPrimitives.WriteUInt32BigEndian(capacity, _blocks - 1);
                BinaryPrimitives.WriteUInt32BigEndian(capacity.AsSpan(4), Block);
                return Answer(capacity, capacity.Length, registers, buffer, out length);
            case 0x28:
                return Read(BinaryPrimitives.ReadUInt32BigEndian(packet[2..]), BinaryPrimitives.ReadUInt16BigEndian(packet[7..]), registers, buffer, out length);
            case 0xA8:
                return Read(BinaryPrimitives.ReadUInt32BigEndian(packet[2..]), BinaryPrimitives.ReadUInt32BigEndian(packet[6..]), registers, buffer, out length);
            case 0x43:
                return Answer(TableOfContents((packet[1] & 2) != 0), BinaryPrimitives.ReadUInt16BigEndian(packet[7..]), registers, buffer, out length);
            case 0x46:
                // Features: the profile of a CD-ROM, current.
                byte[] features = [0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0];
                return Answer(features, BinaryPrimitives.ReadUInt16BigEndian(packet[7..]), registers, buffer, out length);
            case 0x4A:
                // Events: of the medium, which has not changed.
                byte[] events = [0, 6, 4, 0x10, 0, 2, 0, 0];
                return Answer(events, BinaryPrimitives.ReadUInt16BigEndian(packet[7..]), registers, buffer, out length);
            case 0x5A:
                byte[] mode = [0, 6, 1, 0, 0, 0, 0, 0];
                return Answer(mode, BinaryPrimitives.ReadUInt16BigEndian(packet[7..]), registers, buffer, out length);
            default:
                return Refuse(registers, IllegalRequest, 0x20);
        }
    }

    private AtaPhase Read(uint first, uint count, AtaRegisters registers, byte[] buffer, out int length)
    {
        length = 0;
        if ((ulong)first + count > _blocks)
        {
            return Refuse(registers, IllegalRequest, 0x21);
        }

        _next = first;
        _left = count;
        return Give(registers, buffer, out length);
    }

    private AtaPhase Answer(byte[] answer, int allowed, AtaRegisters registers, byte[] buffer, out int length)
    {
        _answer = answer[..Math.Min(answer.Length, allowed)];
        _given = 0;
        return Give(registers, buffer, out length);
    }

    // The next piece, no longer than the host said.
    private AtaPhase Give(AtaRegisters registers, byte[] buffer, out int length)
    {
        length = 0;
        if (_given == _answer.Length && _left > 0)
        {
            int blocks = (int)Math.Min(_left, (uint)Math.Max(1, Math.Min(_limit, AtaChannel.BufferLength) / Block));
            byte[] read = new byte[blocks * Block];
            if (!image.TryRead((long)_next * Block, read))
            {
                return Refuse(registers, MediumError, 0x11);
            }

            _next += (uint)blocks;
            _left -= (uint)blocks;
            _answer = read;
            _given = 0;
        }

        length = Math.Min(_answer.Length - _given, Math.Min(_limit, AtaChannel.BufferLength));
        if (length == 0)
        {
            return Finish(registers);
        }

        _answer.AsSpan(_given, length).CopyTo(buffer);
        _given += length;
        registers.Count = ToHost;
        registers.Middle = (ushort)(length & 0xFF);
        registers.High = (ushort)(length >> 8);
        return AtaPhase.DataIn;
    }

    private static AtaPhase Finish(AtaRegisters registers)
    {
        registers.Count = IsCommand | ToHost;
        return AtaPhase.Done;
    }

    private AtaPhase Refuse(AtaRegisters registers, byte key, byte code)
    {
        _left = 0;
        _answer = [];
        _given = 0;
        _senseKey = key;
        _senseCode = code;
        registers.Error = (byte)(key << 4);
        registers.Count = IsCommand | ToHost;
        return AtaPhase.Failed;
    }

    // One data track and the lead-out (MMC-5, 6.26).
    private byte[] TableOfContents(bool minutes)
    {
        byte[] table = new byte[20];
        table[1] = 18;
        table[2] = 1;
        table[3] = 1;
        table[5] = 0x14;
        table[6] = 1;
        table[13] = 0x14;
        table[14] = 0xAA;
        Put(table.AsSpan(8), 0);
        Put(table.AsSpan(16), _blocks);
        return table;

        void Put(Span<byte> at, uint block)
        {
            uint frame = block + 150;
            BinaryPrimitives.WriteUInt32BigEndian(at, minutes ? (frame / 75 / 60 << 16) | (frame / 75 % 60 << 8) | (frame % 75) : block);
        }
    }

    private static void Identify(Span<byte> buffer)
    {
        buffer = buffer[..512];
        buffer.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(buffer, 0x85C0); // ATAPI, CD-ROM, removable, packets of 12 bytes asked for within 50 us.
        AtaText.Put(buffer, 10, 10, "YADO0002");
        AtaText.Put(buffer, 23, 4, "1.0");
        AtaText.Put(buffer, 27, 20, "Yadokari CD-ROM");
        BinaryPrimitives.WriteUInt16LittleEndian(buffer[96..], 1);
        BinaryPrimitives.WriteUInt16LittleEndian(buffer[98..], 0x0200);
        BinaryPrimitives.WriteUInt16LittleEndian(buffer[160..], 0x0070);
    }
}
