using System.Buffers.Binary;
using Yadokari.Core.Disks;

namespace Yadokari.Devices.Storage;

/// <summary>A hard disk of 512-byte sectors with 28- and 48-bit addresses (ATA/ATAPI-6, 8).</summary>
/// <param name="image">Its contents. Not owned.</param>
public sealed class AtaDisk(IDisk image) : IAtaDevice
{
    private const int Sector = 512;
    private const int Heads = 16;
    private const int SectorsPerTrack = 63;
    private const int MaxMultiple = 16;
    private const byte Aborted = 0x04;
    private const byte NotFound = 0x10;
    private const byte Uncorrectable = 0x40;

    private readonly long _sectors = image.Length / Sector;
    private int _multiple = MaxMultiple;
    private long _next;
    private int _left;
    private int _block;
    private bool _writes;
    private int _pending;

    private int Cylinders => (int)Math.Min(16383, _sectors / (Heads * SectorsPerTrack));

    /// <inheritdoc/>
    public void Reset(AtaRegisters registers)
    {
        registers.Count = 1;
        registers.Low = 1;
        registers.Middle = 0;
        registers.High = 0;
        _left = 0;
        _multiple = MaxMultiple;
    }

    /// <inheritdoc/>
    public AtaPhase Begin(byte command, AtaRegisters registers, byte[] buffer, out int length)
    {
        length = 0;
        switch (command)
        {
            case 0x20 or 0x21:
                return Transfer(registers, buffer, extended: false, block: 1, writes: false, out length);
            case 0x24:
                return Transfer(registers, buffer, extended: true, block: 1, writes: false, out length);
            case 0xC4:
                return Transfer(registers, buffer, extended: false, _multiple, writes: false, out length);
            case 0x29:
                return Transfer(registers, buffer, extended: true, _multiple, writes: false, out length);
            case 0x30 or 0x31:
                return Transfer(registers, buffer, extended: false, block: 1, writes: true, out length);
            case 0x34:
                return Transfer(registers, buffer, extended: true, block: 1, writes: true, out length);
            case 0xC5:
                return Transfer(registers, buffer, extended: false, _multiple, writes: true, out length);
            case 0x39:
                return Transfer(registers, buffer, extended: true, _multiple, writes: true, out length);
            case 0x40 or 0x41:
                return FindRange(registers, extended: false) ? AtaPhase.Done : Fail(registers, NotFound);
            case 0x42:
                return FindRange(registers, extended: true) ? AtaPhase.Done : Fail(registers, NotFound);
            case 0xC6:
                int wanted = registers.Count & 0xFF;
                if (wanted > MaxMultiple || (wanted & (wanted - 1)) != 0)
                {
                    return Fail(registers, Aborted);
                }

                _multiple = Math.Max(wanted, 1);
                return AtaPhase.Done;
            case 0xE7 or 0xEA:
                return image.ReadOnly || image.TryFlush() ? AtaPhase.Done : Fail(registers, Aborted);
            case 0xEC:
                Identify(buffer);
                _left = 0;
                _writes = false;
                length = Sector;
                return AtaPhase.DataIn;
            case 0xE5 or 0x98:
                registers.Count = 0xFF; // Active.
                return AtaPhase.Done;
            case (>= 0x10 and <= 0x1F) or 0x70 or 0x91 or (>= 0xE0 and <= 0xE3) or 0xEF:
                // Recalibrate, seek, device parameters, power modes, features: no effect on an image.
                return AtaPhase.Done;
            default:
                return Fail(registers, Aborted);
        }
    }

    /// <inheritdoc/>
    public AtaPhase Continue(AtaRegisters registers, byte[] buffer, out int length)
    {
        length = 0;
        if (_writes)
        {
            if (!image.TryWrite(_next * Sector, buffer.AsSpan(0, _pending * Sector)))
            {
                return Fail(registers, Uncorrectable);
            }

            _next += _pending;
            _left -= _pending;
            return Ask(out length);
        }

        return _left == 0 ? AtaPhase.Done : Fetch(registers, buffer, out length);
    }

    private AtaPhase Transfer(AtaRegisters registers, byte[] buffer, bool extended, int block, bool writes, out int length)
    {
        length = 0;
        if (writes && image.ReadOnly)
        {
            return Fail(registers, Aborted);
        }

        if (!FindRange(registers, extended))
        {
            return Fail(registers, NotFound);
        }

        _block = block;
        _writes = writes;
        return writes ? Ask(out length) : Fetch(registers, buffer, out length);
    }

    // The range in the registers, if it lies within the disk.
    private bool FindRange(AtaRegisters registers, bool extended)
    {
        int count = extended ? registers.Count : registers.Count & 0xFF;
        _left = count != 0 ? count : extended ? 65536 : 256;
        if (extended)
        {
            _next = (long)(registers.Low & 0xFF) | ((long)(registers.Middle & 0xFF) << 8) | ((long)(registers.High & 0xFF) << 16)
                | ((long)(registers.Low >> 8) << 24) | ((long)(registers.Middle >> 8) << 32) | ((long)(registers.High >> 8) << 40);
        }
        else if ((registers.Device & 0x40) != 0)
        {
            _next = (long)(registers.Low & 0xFF) | ((long)(registers.Middle & 0xFF) << 8) | ((long)(registers.High & 0xFF) << 16)
                | ((long)(registers.Device & 0xF) << 24);
        }
        else
        {
            int cylinder = (registers.Middle & 0xFF) | ((registers.High & 0xFF) << 8);
            int sector = registers.Low & 0xFF;
            _next = sector == 0 ? -1 : (((long)cylinder * Heads) + (registers.Device & 0xF)) * SectorsPerTrack + sector - 1;
        }

        return _next >= 0 && _next + _left <= _sectors;
    }

    private AtaPhase Fetch(AtaRegisters registers, byte[] buffer, out int length)
    {
        int count = Math.Min(_left, _block);
        length = count * Sector;
        if (!image.TryRead(_next * Sector, buffer.AsSpan(0, length)))
        {
            return Fail(registers, Uncorrectable);
        }

        _next += count;
        _left -= count;
        return AtaPhase.DataIn;
    }

    private AtaPhase Ask(out int length)
    {
        _pending = Math.Min(_left, _block);
        length = _pending * Sector;
        return _pending == 0 ? AtaPhase.Done : AtaPhase.DataOut;
    }

    private AtaPhase Fail(AtaRegisters registers, byte error)
    {
        registers.Error = error;
        _left = 0;
        return AtaPhase.Failed;
    }

    private void Identify(Span<byte> buffer)
    {
        buffer = buffer[..Sector];
        buffer.Clear();
        Put(buffer, 0, 0x0040);
        Put(buffer, 1, (ushort)Cylinders);
        Put(buffer, 3, Heads);
        Put(buffer, 6, SectorsPerTrack);
        AtaText.Put(buffer, 10, 10, "YADO0001");
        AtaText.Put(buffer, 23, 4, "1.0");
        AtaText.Put(buffer, 27, 20, "Yadokari disk");
        Put(buffer, 47, 0x8000 | MaxMultiple);
        Put(buffer, 48, 1); // 32-bit accesses to the data register.
        Put(buffer, 49, 0x0200); // LBA.
        Put(buffer, 53, 7);
        Put(buffer, 54, (ushort)Cylinders);
        Put(buffer, 55, Heads);
        Put(buffer, 56, SectorsPerTrack);
        uint cylindersCapacity = (uint)(Cylinders * Heads * SectorsPerTrack);
        Put(buffer, 57, (ushort)cylindersCapacity);
        Put(buffer, 58, (ushort)(cylindersCapacity >> 16));
        Put(buffer, 59, (ushort)(0x100 | _multiple));
        uint narrow = (uint)Math.Min(_sectors, 0x0FFF_FFFF);
        Put(buffer, 60, (ushort)narrow);
        Put(buffer, 61, (ushort)(narrow >> 16));
        Put(buffer, 80, 0x00F0); // ATA-4 to ATA-7.
        Put(buffer, 82, 0x4000);
        Put(buffer, 83, 0x7400); // 48-bit addresses, FLUSH CACHE, FLUSH CACHE EXT.
        Put(buffer, 84, 0x4000);
        Put(buffer, 85, 0x4000);
        Put(buffer, 86, 0x3400);
        Put(buffer, 87, 0x4000);
        BinaryPrimitives.WriteInt64LittleEndian(buffer[200..], _sectors);
    }

    private static void Put(Span<byte> buffer, int word, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(buffer[(word * 2)..], value);
}
