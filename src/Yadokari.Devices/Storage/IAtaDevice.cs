namespace Yadokari.Devices.Storage;

/// <summary>The registers of a channel that a command is made of and answered by (ATA-8 ACS, 6; ATA/ATAPI-6, 5.3).</summary>
public sealed class AtaRegisters
{
    /// <summary>Error register when read.</summary>
    public byte Error { get; set; }

    /// <summary>Features register as written, with what was there before in bits 15 to 8.</summary>
    public ushort Features { get; set; }

    /// <summary>Sector count, with what was there before in bits 15 to 8.</summary>
    public ushort Count { get; set; }

    /// <summary>LBA low, mid and high, each with what was there before in bits 15 to 8.</summary>
    public ushort Low { get; set; }

    /// <inheritdoc cref="Low"/>
    public ushort Middle { get; set; }

    /// <inheritdoc cref="Low"/>
    public ushort High { get; set; }

    /// <summary>Device register.</summary>
    public byte Device { get; set; }
}

/// <summary>How a command, or a part of it, goes on.</summary>
public enum AtaPhase
{
    /// <summary>It is done.</summary>
    Done,

    /// <summary>It ended with an error, which is in the registers.</summary>
    Failed,

    /// <summary>The host is to read the buffer.</summary>
    DataIn,

    /// <summary>The host is to fill the buffer.</summary>
    DataOut,

    /// <summary>The host is to write a command packet of 12 bytes.</summary>
    Packet,
}

/// <summary>A drive on a channel. Called under the channel's lock.</summary>
public interface IAtaDevice
{
    /// <summary>Sets the signature that tells kinds of drives apart, as after a reset.</summary>
    void Reset(AtaRegisters registers);

    /// <summary>Begins a command.</summary>
    /// <param name="command">Its code.</param>
    /// <param name="registers">Its parameters; results go there.</param>
    /// <param name="buffer">Where data goes that the host is to read.</param>
    /// <param name="length">How much of the buffer counts, for the phases with data.</param>
    AtaPhase Begin(byte command, AtaRegisters registers, byte[] buffer, out int length);

    /// <summary>Goes on when the buffer has been read, or filled.</summary>
    AtaPhase Continue(AtaRegisters registers, byte[] buffer, out int length);
}
