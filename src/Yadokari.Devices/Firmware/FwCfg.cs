using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Firmware;

/// <summary>
/// The firmware configuration device: numbered items and named files that firmware and test kernels read a byte at a time
/// (QEMU, docs/specs/fw_cfg.rst). A selector register of 16 bits and a data register of 8, without the DMA interface.
/// </summary>
public sealed class FwCfg : IBusDevice, IPassiveDevice
{
    /// <summary>Selectors of items with a fixed number.</summary>
    public enum Item : ushort
    {
        /// <summary>"QEMU", the signature of the device.</summary>
        Signature = 0x00,

        /// <summary>The interface's features: bit 0, the traditional one.</summary>
        Identity = 0x01,

        /// <summary>Bytes of RAM, 64 bits.</summary>
        RamSize = 0x03,

        /// <summary>Processors, 16 bits.</summary>
        Cpus = 0x05,

        /// <summary>Whether firmware shows a boot menu, 16 bits.</summary>
        BootMenu = 0x0E,

        /// <summary>The most processors that may be there, 16 bits: one more than the highest APIC ID.</summary>
        MaxCpus = 0x0F,

        /// <summary>The list of files.</summary>
        Directory = 0x19,
    }

    private const ushort FirstFile = 0x20;
    private const ushort WriteBit = 0x4000;
    private const int NameLength = 56;

    private readonly Lock _lock = new(); // Innermost.
    private readonly Dictionary<ushort, byte[]> _items = [];
    private readonly List<(string Name, ushort Selector)> _files = [];
    private ushort _selected;
    private int _position;

    /// <summary>A device with a signature and no more.</summary>
    public FwCfg()
    {
        Set(Item.Signature, "QEMU"u8);
        Set(Item.Identity, [1, 0, 0, 0]);
        Set(Item.BootMenu, [0, 0]);
        SetDirectory();
    }

    /// <summary>Gives an item its bytes. Before the guest runs.</summary>
    public void Set(Item item, ReadOnlySpan<byte> bytes) => _items[(ushort)item] = bytes.ToArray();

    /// <summary>Adds a file. Before the guest runs.</summary>
    /// <param name="name">At most 55 ASCII characters, as in "etc/e820".</param>
    /// <param name="bytes">Its contents.</param>
    public void AddFile(string name, ReadOnlySpan<byte> bytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(name.Length, NameLength);
        var selector = (ushort)(FirstFile + _files.Count);
        _files.Add((name, selector));
        _items[selector] = bytes.ToArray();
        SetDirectory();
    }

    /// <inheritdoc/>
    public string Name => "fw_cfg";

    /// <summary>The state after power-on.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _selected = 0;
            _position = 0;
        }
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        if (offset != 1)
        {
            return;
        }

        lock (_lock)
        {
            // Past an item's end, and where there is none, zeros.
            data.Clear();
            if (_items.TryGetValue(_selected, out byte[]? item))
            {
                int count = Math.Clamp(item.Length - _position, 0, data.Length);
                item.AsSpan(Math.Min(_position, item.Length), count).CopyTo(data);
            }

            _position = Math.Min(_position + data.Length, int.MaxValue - 64);
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.Length < 2)
        {
            return;
        }

        lock (_lock)
        {
            _selected = (ushort)(BinaryPrimitives.ReadUInt16LittleEndian(data) & ~WriteBit);
            _position = 0;
        }
    }

    private void SetDirectory()
    {
        byte[] directory = new byte[4 + (_files.Count * (8 + NameLength))];
        BinaryPrimitives.WriteInt32BigEndian(directory, _files.Count);
        for (int i = 0; i < _files.Count; i++)
        {
            (string name, ushort selector) = _files[i];
            Span<byte> entry = directory.AsSpan(4 + (i * (8 + NameLength)));
            BinaryPrimitives.WriteInt32BigEndian(entry, _items[selector].Length);
            BinaryPrimitives.WriteUInt16BigEndian(entry[4..], selector);
            Encoding.ASCII.GetBytes(name, entry[8..]);
        }

        Set(Item.Directory, directory);
    }
}
