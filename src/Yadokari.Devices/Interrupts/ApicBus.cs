namespace Yadokari.Devices.Interrupts;

/// <summary>What carries messages between local APICs, I/O APICs and devices. Any thread; holds no lock while delivering.</summary>
public sealed class ApicBus
{
    /// <summary>Delivers a message to all the local APICs it names.</summary>
    public void Send(in ApicMessage message)
    {
    }

    /// <summary>A device's memory write to 0xFEExxxxx: a message-signalled interrupt (Intel SDM volume 3, 11.11).</summary>
    public void SendMsi(ulong address, uint data)
    {
    }
}
