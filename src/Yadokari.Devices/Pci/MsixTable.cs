using System.Buffers.Binary;
using Yadokari.Core.Buses;

namespace Yadokari.Devices.Pci;

/// <summary>
/// A function's table of message-signalled interrupts and its pending bits (PCI Local Bus 3.0, 6.8.2), as they lie in a range of memory. Any
/// thread.
/// </summary>
public sealed class MsixTable : IBusDevice
{
    /// <summary>Where the pending bits lie behind the table.</summary>
    public const ulong PendingOffset = 0x800;

    /// <summary>Bytes of both.</summary>
    public const ulong Length = 0x1000;

    /// <summary>The most messages that fit.</summary>
    public const int MaxMessages = (int)PendingOffset / EntrySize;

    private const int EntrySize = 16;
    private const int ControlOffset = 12;

    private readonly Lock _lock = new(); // Messages are sent after it is released.
    private readonly Action<ulong, uint> _send;
    private readonly byte[] _table;
    private readonly byte[] _pending;
    private bool _enabled;
    private bool _masked;

    /// <summary>Makes a table.</summary>
    /// <param name="count">How many messages, from 1 to <see cref="MaxMessages"/>.</param>
    /// <param name="send">Sends a message: an address and data to write there.</param>
    public MsixTable(int count, Action<ulong, uint> send)
    {
        Count = count;
        _send = send;
        _table = new byte[count * EntrySize];
        _pending = new byte[(count + 63) / 64 * 8];
        Reset();
    }

    /// <summary>How many messages there are.</summary>
    public int Count { get; }

    /// <summary>Sends a message, or sets its pending bit while it is masked. Vectors out of range are ignored.</summary>
    public void Signal(int number)
    {
        (ulong Address, uint Data) message;
        lock (_lock)
        {
            if (!_enabled || (uint)number >= (uint)Count)
            {
                return;
            }

            if (IsMasked(number))
            {
                _pending[number / 8] |= (byte)(1 << (number % 8));
                return;
            }

            message = Message(number);
        }

        _send(message.Address, message.Data);
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++)
            {
                ulong at = offset + (ulong)i;
                if (at < (ulong)_table.Length)
                {
                    data[i] = _table[at];
                }
                else if (at >= PendingOffset && at - PendingOffset < (ulong)_pending.Length)
                {
                    data[i] = _pending[at - PendingOffset];
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + (ulong)i < (ulong)_table.Length; i++)
            {
                int at = (int)offset + i;
                _table[at] = (at % EntrySize) switch
                {
                    0 => (byte)(data[i] & ~3),
                    ControlOffset => (byte)(data[i] & 1),
                    > ControlOffset => 0,
                    _ => data[i],
                };
            }
        }

        SendPending();
    }

    /// <summary>The state after power-on: every message is masked.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            Array.Clear(_table);
            Array.Clear(_pending);
            for (int i = 0; i < Count; i++)
            {
                _table[(i * EntrySize) + ControlOffset] = 1;
            }
        }
    }

    /// <summary>Follows the message control register.</summary>
    internal void Control(bool enabled, bool masked)
    {
        lock (_lock)
        {
            (_enabled, _masked) = (enabled, masked);
        }

        SendPending();
    }

    private void SendPending()
    {
        for (int i = 0; i < Count; i++)
        {
            (ulong Address, uint Data) message;
            lock (_lock)
            {
                if (!_enabled || _masked || (_pending[i / 8] >> (i % 8) & 1) == 0 || IsMasked(i))
                {
                    continue;
                }

                _pending[i / 8] &= (byte)~(1 << (i % 8));
                message = Message(i);
            }

            _send(message.Address, message.Data);
        }
    }

    private bool IsMasked(int number) => _masked || (_table[(number * EntrySize) + ControlOffset] & 1) != 0;

    private (ulong Address, uint Data) Message(int number)
    {
        ReadOnlySpan<byte> entry = _table.AsSpan(number * EntrySize, EntrySize);
        return (BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]));
    }
}
