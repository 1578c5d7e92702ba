namespace Yadokari.Devices.Interrupts;

/// <summary>How an interrupt message is delivered (Intel SDM volume 3, 11.6.1 and 11.11.2).</summary>
public enum ApicDelivery : byte
{
    /// <summary>To every target, with the vector.</summary>
    Fixed = 0,

    /// <summary>To the target with the lowest priority.</summary>
    LowestPriority = 1,

    /// <summary>System management interrupt; ignored.</summary>
    Smi = 2,

    /// <summary>Non-maskable interrupt.</summary>
    Nmi = 4,

    /// <summary>INIT.</summary>
    Init = 5,

    /// <summary>Start-up: the vector is the page of the code.</summary>
    StartUp = 6,

    /// <summary>The 8259 pair supplies the vector.</summary>
    ExtInt = 7,
}

/// <summary>One interrupt message between APICs, or from a device (MSI).</summary>
/// <param name="Destination">APIC ID or logical destination: 8 bits wide unless <paramref name="Wide"/>.</param>
/// <param name="Logical">Whether the destination is a logical one.</param>
/// <param name="Delivery">What to do at the target.</param>
/// <param name="Vector">The vector.</param>
/// <param name="Level">Whether it came from a level-triggered source, whose EOI must be broadcast.</param>
/// <param name="Wide">Whether the destination has 32 bits (sent by an x2APIC).</param>
public readonly record struct ApicMessage(uint Destination, bool Logical, ApicDelivery Delivery, byte Vector, bool Level, bool Wide = false);
