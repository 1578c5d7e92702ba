using Yadokari.Core.Buses;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Power;

/// <summary>The fixed hardware of ACPI (ACPI 6.5, 4.8) as one block of ports, always in ACPI mode (no SMI command port).</summary>
public sealed class AcpiPowerManagement : ByteWideDevice, IDisposable
{
    /// <summary>Offset of PM1a_EVT_BLK: status, then enable.</summary>
    public const int Pm1EventOffset = 0x00;

    /// <summary>Bytes of PM1a_EVT_BLK.</summary>
    public const int Pm1EventLength = 4;

    /// <summary>Offset of PM1a_CNT_BLK.</summary>
    public const int Pm1ControlOffset = 0x04;

    /// <summary>Bytes of PM1a_CNT_BLK.</summary>
    public const int Pm1ControlLength = 2;

    /// <summary>Offset of PM_TMR_BLK.</summary>
    public const int TimerOffset = 0x08;

    /// <summary>Bytes of PM_TMR_BLK.</summary>
    public const int TimerLength = 4;

    /// <summary>Offset of GPE0_BLK: status, then enable.</summary>
    public const int Gpe0Offset = 0x20;

    /// <summary>Bytes of GPE0_BLK.</summary>
    public const int Gpe0Length = 8;

    /// <summary>Bytes of the whole block.</summary>
    public const int BlockLength = 0x28;

    /// <summary>The frequency of the power management timer.</summary>
    public const long TimerHz = 3_579_545;

    /// <summary>SLP_TYP of S5, soft off: what the DSDT's _S5 has to name.</summary>
    public const byte SoftOff = 5;

    /// <summary>Wires the block.</summary>
    /// <param name="clock">The timer's oscillator.</param>
    /// <param name="sci">The system control interrupt: level, active high.</param>
    /// <param name="powerOff">Called when the guest enters S5. On a vCPU's thread, no lock held.</param>
    /// <param name="wideTimer">Whether the timer has 32 bits (TMR_VAL_EXT) rather than 24.</param>
    public AcpiPowerManagement(IClock clock, IInterruptLine sci, Action powerOff, bool wideTimer = true)
        : base(BlockLength)
    {
    }

    /// <summary>Presses and releases the power button. Any thread.</summary>
    public void PressPowerButton()
    {
    }

    /// <summary>Raises a general purpose event, 0 to 31. Any thread.</summary>
    public void RaiseEvent(int gpe)
    {
    }

    /// <summary>The state after power-on.</summary>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => 0;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
    }
}
