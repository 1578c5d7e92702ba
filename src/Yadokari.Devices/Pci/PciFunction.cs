using System.Buffers.Binary;
using System.Numerics;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Pci;

/// <summary>
/// A PCI Express function: 4 KiB of configuration space with a header of type 0 (PCI Local Bus 3.0, chapter 6; PCI Express 3.0, 7.2), built
/// once, then read and written by the guest. Any thread.
/// </summary>
public class PciFunction : IDevice
{
    /// <summary>Bytes of configuration space.</summary>
    public const int ConfigSize = 4096;

    private const int CommandOffset = 4;
    private const int StatusOffset = 6;
    private const int BarOffset = 0x10;
    private const int BarEnd = 0x28;
    private const int CapabilitiesPointer = 0x34;
    private const int InterruptLineOffset = 0x3C;
    private const int FirstCapability = 0x40;
    private const ushort Ports = 1 << 0;
    private const ushort Memory = 1 << 1;
    private const ushort BusMaster = 1 << 2;
    private const ushort InterruptDisable = 1 << 10;
    private const byte InterruptStatus = 1 << 3;
    private const byte HasCapabilities = 1 << 4;

    private readonly Lock _lock = new(); // Guards the two arrays and the pin; nothing is called while it is held.
    private readonly byte[] _config = new byte[ConfigSize];
    private readonly byte[] _writable = new byte[ConfigSize];
    private readonly List<PciBar> _bars = [];
    private byte[]? _initial;
    private int _nextCapability = FirstCapability;
    private int _lastCapability = CapabilitiesPointer - 1;
    private int _msixControl;
    private bool _asserted;
    private OutputPin? _pin;
    private Action? _decodingChanged;

    /// <summary>Makes a function without registers of its own.</summary>
    public PciFunction(PciIdentity identity)
    {
        SetUInt16(0, identity.Vendor);
        SetUInt16(2, identity.Device);
        _config[8] = identity.Revision;
        _config[9] = (byte)identity.ClassCode;
        SetUInt16(10, (ushort)(identity.ClassCode >> 8));
        SetUInt16(0x2C, identity.SubsystemVendor);
        SetUInt16(0x2E, identity.Subsystem);
        BinaryPrimitives.WriteUInt16LittleEndian(_writable.AsSpan(CommandOffset), Ports | Memory | BusMaster | InterruptDisable);
        _writable[InterruptLineOffset] = 0xFF;
    }

    /// <summary>The ranges that it claims.</summary>
    public IReadOnlyList<PciBar> Bars => _bars;

    /// <summary>Message-signalled interrupts, if it has them.</summary>
    public MsixTable? Msix { get; private set; }

    /// <summary>Whether the guest lets it access memory and send messages.</summary>
    public bool IsBusMaster => (Command & BusMaster) != 0;

    /// <summary>Whether it has an interrupt pin (INTA).</summary>
    internal bool HasPin => _config[InterruptLineOffset + 1] != 0;

    private ushort Command => BinaryPrimitives.ReadUInt16LittleEndian(_config.AsSpan(CommandOffset));

    /// <summary>Adds a base address register. When it is built.</summary>
    /// <param name="index">From 0; one of 64 bits takes the next too.</param>
    /// <param name="kind">What it claims.</param>
    /// <param name="size">Bytes, a power of two: of ports at least 4, of memory at least 4096.</param>
    public PciBar AddBar(int index, PciBarKind kind, ulong size)
    {
        if (!BitOperations.IsPow2(size))
        {
            throw new ArgumentException($"A range of {size} bytes can't be decoded: its size must be a power of two.", nameof(size));
        }

        int offset = BarOffset + (4 * index);
        ulong mask = ~(size - 1);
        _config[offset] = kind switch { PciBarKind.Ports => 1, PciBarKind.Memory64 => 4, _ => 0 };
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(offset), (uint)mask);
        if (kind == PciBarKind.Memory64)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(offset + 4), (uint)(mask >> 32));
        }

        var bar = new PciBar(index, kind, size);
        _bars.Add(bar);
        return bar;
    }

    /// <summary>Adds a capability to the list (PCI Local Bus 3.0, 6.7). When it is built.</summary>
    /// <param name="id">The capability ID.</param>
    /// <param name="body">What follows the two bytes of the list.</param>
    /// <param name="writable">Which bits of that the guest may write; shorter than the body is none.</param>
    /// <returns>Its offset in configuration space.</returns>
    public int AddCapability(byte id, ReadOnlySpan<byte> body, ReadOnlySpan<byte> writable = default)
    {
        int offset = _nextCapability;
        _config[_lastCapability + 1] = (byte)offset;
        _config[StatusOffset] |= HasCapabilities;
        _config[offset] = id;
        body.CopyTo(_config.AsSpan(offset + 2));
        writable.CopyTo(_writable.AsSpan(offset + 2));
        _lastCapability = offset;
        _nextCapability = (offset + 2 + body.Length + 3) & ~3;
        return offset;
    }

    /// <summary>Gives it an interrupt pin, INTA. When it is built.</summary>
    public void AddPin() => _config[InterruptLineOffset + 1] = 1;

    /// <summary>Adds MSI-X (PCI Local Bus 3.0, 6.8.2). When it is built.</summary>
    /// <param name="bar">Where table and pending bits lie.</param>
    /// <param name="offset">The table's place in it; <see cref="MsixTable.Length"/> bytes are taken.</param>
    /// <param name="name">Its name in statistics.</param>
    /// <param name="table">The table.</param>
    public void AddMsix(PciBar bar, ulong offset, string name, MsixTable table)
    {
        Span<byte> body = stackalloc byte[10];
        BinaryPrimitives.WriteUInt16LittleEndian(body, (ushort)(table.Count - 1));
        BinaryPrimitives.WriteUInt32LittleEndian(body[2..], (uint)offset | (uint)bar.Index);
        BinaryPrimitives.WriteUInt32LittleEndian(body[6..], (uint)(offset + MsixTable.PendingOffset) | (uint)bar.Index);
        _msixControl = AddCapability(0x11, body, [0, 0xC0]) + 2;
        bar.Add(offset, MsixTable.Length, name, table);
        Msix = table;
    }

    /// <summary>Asserts or deasserts the interrupt pin. Any thread, no lock held.</summary>
    public void SetPin(bool asserted)
    {
        PutPin(asserted);
        PublishPin();
    }

    /// <summary>Reads configuration space. What is beyond it stays as given.</summary>
    public void Read(int offset, Span<byte> data)
    {
        BeforeRead(offset, data.Length);
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + i < ConfigSize; i++)
            {
                data[i] = _config[offset + i];
            }
        }
    }

    /// <summary>Writes configuration space: what is not writable stays as it is.</summary>
    public void Write(int offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + i < ConfigSize; i++)
            {
                byte mask = _writable[offset + i];
                _config[offset + i] = (byte)((_config[offset + i] & ~mask) | (data[i] & mask));
            }

            ShowPin();
        }

        _pin?.Publish();
        if (offset < BarEnd && offset + data.Length > CommandOffset)
        {
            _decodingChanged?.Invoke();
        }

        UpdateMsix();
        AfterWrite(offset, data.Length);
    }

    /// <inheritdoc/>
    public virtual string Name => $"pci-{BinaryPrimitives.ReadUInt16LittleEndian(_config):x4}-{BinaryPrimitives.ReadUInt16LittleEndian(_config.AsSpan(2)):x4}";

    /// <summary>The state after power-on. What it has registers of is not mapped afterwards.</summary>
    public virtual void Reset()
    {
        lock (_lock)
        {
            _initial?.CopyTo(_config, 0);
            _asserted = false;
            ShowPin();
        }

        _pin?.Publish();
        Msix?.Reset();
        UpdateMsix();
        _decodingChanged?.Invoke();
    }

    /// <summary>As <see cref="IDevice.Pause"/>. Nothing for a function that acts only when the guest does.</summary>
    public virtual void Pause()
    {
    }

    /// <summary>As <see cref="IDevice.Resume"/>.</summary>
    public virtual void Resume()
    {
    }

    /// <summary>Releases its resources. No vCPU may run guest code any more.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>For derived classes: releases their resources.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    /// <summary>Wires it to its host. Once, when it is built.</summary>
    internal void Wire(IInterruptLine? line, Action decodingChanged)
    {
        _initial = [.. _config];
        _pin = line is null ? null : new OutputPin(line);
        _decodingChanged = decodingChanged;
    }

    /// <summary>Where a range should be on its bus now, or null.</summary>
    internal ulong? AddressOf(PciBar bar)
    {
        int offset = BarOffset + (4 * bar.Index);
        lock (_lock)
        {
            ulong low = BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(offset));
            return bar.Kind switch
            {
                PciBarKind.Ports => (Command & Ports) == 0 ? null : low & ~3ul,
                PciBarKind.Memory32 => (Command & Memory) == 0 ? null : low & ~15ul,
                _ => (Command & Memory) == 0 ? null : BinaryPrimitives.ReadUInt64LittleEndian(_config.AsSpan(offset)) & ~15ul,
            };
        }
    }

    /// <summary>Gives a range its place, as firmware does.</summary>
    internal void Place(PciBar bar, ulong address)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, address);
        Write(BarOffset + (4 * bar.Index), bar.Kind == PciBarKind.Memory64 ? bytes : bytes[..4]);
    }

    /// <summary>Says which interrupt of the 8259s the pin is wired to, as firmware does.</summary>
    internal void SetInterruptLine(byte irq) => Write(InterruptLineOffset, [irq]);

    /// <summary>Before configuration space is read: bytes of it may be brought up to date. No lock held.</summary>
    protected virtual void BeforeRead(int offset, int length)
    {
    }

    /// <summary>After configuration space was written. No lock held.</summary>
    protected virtual void AfterWrite(int offset, int length)
    {
    }

    /// <summary>
    /// Sets the INTx level, under the lock of the device that decides it, so that levels keep their order. <see cref="PublishPin"/> drives the
    /// line.
    /// </summary>
    protected void PutPin(bool asserted)
    {
        lock (_lock)
        {
            _asserted = asserted;
            _config[StatusOffset] = (byte)((_config[StatusOffset] & ~InterruptStatus) | (asserted ? InterruptStatus : 0));
            ShowPin();
        }
    }

    /// <summary>Drives the INTx line with the level set. No lock held.</summary>
    protected void PublishPin() => _pin?.Publish();

    /// <summary>Reads bytes of configuration space, for derived classes.</summary>
    protected void Peek(int offset, Span<byte> data)
    {
        lock (_lock)
        {
            _config.AsSpan(offset, data.Length).CopyTo(data);
        }
    }

    /// <summary>Changes bytes of configuration space, whether the guest may write them or not.</summary>
    protected void Poke(int offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            data.CopyTo(_config.AsSpan(offset));
        }
    }

    // Under the lock: a function with MSI-X enabled does not use its pin (PCI Local Bus 3.0, 6.8.3.3).
    private void ShowPin() => _pin?.Put(_asserted && (Command & InterruptDisable) == 0 && !IsMsixEnabled);

    /// <summary>Whether interrupts go by messages. Any thread.</summary>
    protected bool IsMsixEnabled => Msix is not null && (_config[_msixControl + 1] & 0x80) != 0;

    private void UpdateMsix()
    {
        if (Msix is null)
        {
            return;
        }

        bool enabled;
        bool masked;
        lock (_lock)
        {
            enabled = IsMsixEnabled && (Command & BusMaster) != 0;
            masked = (_config[_msixControl + 1] & 0x40) != 0;
        }

        Msix.Control(enabled, masked);
    }

    private void SetUInt16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(offset), value);
}
