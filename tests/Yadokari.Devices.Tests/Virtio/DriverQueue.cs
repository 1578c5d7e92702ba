using System.Buffers.Binary;
using Yadokari.Core.Memory;
using Yadokari.Devices.Virtio;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>The driver's side of a queue, of either kind, written from the specification alone: what a guest's kernel would do.</summary>
internal sealed class DriverQueue
{
    private readonly GuestMemory _memory;
    private readonly bool _packed;
    private readonly int _size;
    private readonly ulong _descriptors;
    private readonly ulong _driver;
    private readonly ulong _device;
    private readonly ulong _tables;
    private readonly Dictionary<int, int> _lengths = [];
    private int _free; // Split: the next descriptor; packed: the next entry of the ring.
    private bool _round = true;
    private int _used;
    private bool _usedRound = true;

    public DriverQueue(GuestMemory memory, ulong at, int size, bool packed)
    {
        (_memory, _size, _packed) = (memory, size, packed);
        (_descriptors, _driver, _device, _tables) = (at, at + 0x4000, at + 0x5000, at + 0x8000);
        memory.Write(at, new byte[0x8000]);
    }

    public QueueAddresses Addresses => new(_descriptors, _driver, _device);

    /// <summary>Puts a request in. Returns by what it is known.</summary>
    public ushort Add(bool indirect, params (ulong Gpa, uint Length, bool Writable)[] buffers)
    {
        ushort id = (ushort)_free;
        if (indirect)
        {
            ulong table = _tables + ((ulong)id * 0x200);
            for (int i = 0; i < buffers.Length; i++)
            {
                Put(table, i, buffers[i].Gpa, buffers[i].Length, Flags(buffers, i), (ushort)(i + 1), packed: _packed, id: 0);
            }

            buffers = [(table, (uint)buffers.Length * 16, false)];
        }

        _lengths[id] = buffers.Length;
        if (_packed)
        {
            AddPacked(id, buffers, indirect);
        }
        else
        {
            AddSplit(id, buffers, indirect);
        }

        return id;
    }

    /// <summary>Takes the next request that came back, or null.</summary>
    public (ushort Id, uint Written)? Take()
    {
        if (!_packed)
        {
            if (U16(_device + 2) == (ushort)_used)
            {
                return null;
            }

            ulong entry = _device + 4 + (8 * (ulong)(_used++ % _size));
            return ((ushort)U32(entry), U32(entry + 4));
        }

        ulong at = _descriptors + (16 * (ulong)_used);
        ushort flags = U16(at + 14);
        if ((flags & 0x80) != 0 != _usedRound || (flags & 0x8000) != 0 != _usedRound)
        {
            return null;
        }

        ushort id = U16(at + 12);
        _used += _lengths[id];
        if (_used >= _size)
        {
            _used -= _size;
            _usedRound = !_usedRound;
        }

        return (id, U32(at + 8));
    }

    /// <summary>Wants no interrupts, or all.</summary>
    public void Interrupts(bool on) => U16(_packed ? _driver + 2 : _driver, (ushort)(on ? 0 : 1));

    /// <summary>Wants an interrupt with so many more returned (event index).</summary>
    public void InterruptAfter(int more)
    {
        if (!_packed)
        {
            U16(_driver + 4 + (2 * (ulong)_size), (ushort)(_used + more));
            return;
        }

        int at = _used + more;
        bool round = at < _size ? _usedRound : !_usedRound;
        U16(_driver, (ushort)((at % _size) | (round ? 0x8000 : 0)));
        U16(_driver + 2, 2);
    }

    /// <summary>Whether the device wants to hear of the next request (no event index).</summary>
    public bool WantsKick => U16(_packed ? _device + 2 : _device) != 1;

    private void AddSplit(ushort id, (ulong Gpa, uint Length, bool Writable)[] buffers, bool indirect)
    {
        for (int i = 0; i < buffers.Length; i++)
        {
            Put(_descriptors, (id + i) % _size, buffers[i].Gpa, buffers[i].Length, indirect ? (ushort)4 : Flags(buffers, i), (ushort)((id + i + 1) % _size), packed: false, id: 0);
        }

        ushort index = U16(_driver + 2);
        U16(_driver + 4 + (2 * (ulong)(index % _size)), id);
        U16(_driver + 2, (ushort)(index + 1));
        _free = (_free + buffers.Length) % _size;
    }

    private void AddPacked(ushort id, (ulong Gpa, uint Length, bool Writable)[] buffers, bool indirect)
    {
        ulong first = 0;
        ushort firstFlags = 0;
        for (int i = 0; i < buffers.Length; i++)
        {
            ushort flags = (ushort)((indirect ? 4 : Flags(buffers, i)) | (_round ? 0x80 : 0x8000));
            Put(_descriptors, _free, buffers[i].Gpa, buffers[i].Length, i == 0 ? (ushort)(_round ? 0x8000 : 0x80) : flags, 0, packed: true, id);
            (first, firstFlags) = i == 0 ? (_descriptors + (16 * (ulong)_free), flags) : (first, firstFlags);
            if (++_free == _size)
            {
                _free = 0;
                _round = !_round;
            }
        }

        U16(first + 14, firstFlags);
    }

    private static ushort Flags((ulong Gpa, uint Length, bool Writable)[] buffers, int i) =>
        (ushort)((i + 1 < buffers.Length ? 1 : 0) | (buffers[i].Writable ? 2 : 0));

    private void Put(ulong table, int number, ulong gpa, uint length, ushort flags, ushort next, bool packed, ushort id)
    {
        byte[] bytes = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, gpa);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), length);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(12), packed ? id : flags);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(14), packed ? flags : next);
        _memory.Write(table + (16 * (ulong)number), bytes);
    }

    private ushort U16(ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[2];
        _memory.Read(gpa, bytes);
        return BinaryPrimitives.ReadUInt16LittleEndian(bytes);
    }

    private uint U32(ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[4];
        _memory.Read(gpa, bytes);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    private void U16(ulong gpa, ushort value) => _memory.Write(gpa, BitConverter.GetBytes(value));
}
