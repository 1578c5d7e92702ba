namespace Yadokari.Devices.Interrupts;

/// <summary>The destination shorthand of an IPI (Intel SDM volume 3, 11.6.1).</summary>
internal enum ApicShorthand
{
    None = 0,
    Self = 1,
    All = 2,
    AllButSelf = 3,
}

/// <summary>
/// Delivers interrupt messages between local APICs, I/O APICs and devices. Any thread; holds no lock while delivering, so a message may reach
/// several processors at slightly different times, as on hardware. APICs register when the machine is built.
/// </summary>
public sealed class ApicBus
{
    private readonly Lock _joining = new(); // Innermost: guards the replacement of the two arrays (copy-on-write).
    private LocalApic[] _locals = [];
    private IoApic[] _ioApics = [];

    /// <summary>The local APICs, in the order in which they were made.</summary>
    public IReadOnlyList<LocalApic> LocalApics => Volatile.Read(ref _locals);

    /// <summary>Delivers a message to all local APICs that its destination matches.</summary>
    /// <returns>Whether any accepted it.</returns>
    public bool Send(in ApicMessage message) => Send(message, ApicShorthand.None, null);

    /// <summary>A device's memory write to 0xFEExxxxx: a message-signalled interrupt (Intel SDM volume 3, 11.11). Others are ignored.</summary>
    public void SendMsi(ulong address, uint data)
    {
        if (address >> 20 != 0xFEE)
        {
            return;
        }

        Send(new ApicMessage(
            Destination: (uint)(address >> 12) & 0xFF,
            Logical: (address & 4) != 0,
            Delivery: (ApicDelivery)((data >> 8) & 7),
            Vector: (byte)data,
            Level: (data & 0x8000) != 0));
    }

    /// <summary>Whether a vector is pending (IRR) in any local APIC. Any thread, no lock held.</summary>
    internal bool IsPending(byte vector)
    {
        foreach (LocalApic apic in Volatile.Read(ref _locals))
        {
            if (apic.IsPending(vector))
            {
                return true;
            }
        }

        return false;
    }

    internal void Join(LocalApic apic)
    {
        lock (_joining)
        {
            Volatile.Write(ref _locals, [.. _locals, apic]);
        }
    }

    internal void Join(IoApic apic)
    {
        lock (_joining)
        {
            Volatile.Write(ref _ioApics, [.. _ioApics, apic]);
        }
    }

    /// <summary>A local APIC's EOI of a level-triggered vector, broadcast to all I/O APICs.</summary>
    internal void EndOfInterrupt(byte vector)
    {
        foreach (IoApic apic in Volatile.Read(ref _ioApics))
        {
            apic.EndOfInterrupt(vector);
        }
    }

    internal bool Send(in ApicMessage message, ApicShorthand shorthand, LocalApic? sender)
    {
        LocalApic? lowest = null;
        int lowestPriority = int.MaxValue;
        bool taken = false;
        foreach (LocalApic apic in Volatile.Read(ref _locals))
        {
            bool addressed = shorthand switch
            {
                ApicShorthand.Self => apic == sender,
                ApicShorthand.All => true,
                ApicShorthand.AllButSelf => apic != sender,
                _ => apic.IsAddressedBy(message),
            };
            if (!addressed)
            {
                continue;
            }

            if (message.Delivery != ApicDelivery.LowestPriority)
            {
                taken |= apic.Deliver(message);
            }
            else if (apic.ArbitrationPriority is int priority && priority < lowestPriority)
            {
                lowest = apic;
                lowestPriority = priority;
            }
        }

        return lowest?.Deliver(message) ?? taken;
    }
}
