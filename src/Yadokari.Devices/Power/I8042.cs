using Yadokari.Core.Buses;

namespace Yadokari.Devices.Power;

/// <summary>The keyboard controller of a PC/AT with nothing plugged in: what is left of it is the reset line.</summary>
public sealed class I8042
{
    /// <summary>Wires the controller.</summary>
    /// <param name="keyboardIrq">IRQ 1.</param>
    /// <param name="reset">Resets the machine. On a vCPU's thread, no lock held.</param>
    public I8042(IInterruptLine keyboardIrq, Action reset)
    {
        Data = new BytePorts(1, static _ => 0, static (_, _) => { });
        Command = new BytePorts(1, static _ => 0, static (_, _) => { });
    }

    /// <summary>Port 0x60.</summary>
    public IBusDevice Data { get; }

    /// <summary>Port 0x64: status when read, command when written.</summary>
    public IBusDevice Command { get; }

    /// <summary>The state after power-on.</summary>
    public void Reset()
    {
    }
}
