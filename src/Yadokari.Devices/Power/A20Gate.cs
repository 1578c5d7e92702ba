namespace Yadokari.Devices.Power;

/// <summary>
/// Address line 20 of a PC/AT: programs for the first PC rely on addresses that wrap around at 1 MiB, so the line can be tied to 0. After a reset
/// it is open; then the last word counts of two ports, the keyboard controller's output port and system control port A (IBM PS/2 hardware
/// interface technical reference).
/// </summary>
/// <remarks>
/// Chipsets open the line while either port asks for it (Intel 82371SB data sheet, A20M#), and their firmware has the keyboard controller no
/// longer ask. SeaBIOS leaves that one open, and a DOS that knows port A alone could never close the line.
/// </remarks>
/// <param name="changed">Told whether the line is open now. On the thread that changed it, with the gate's lock held: it must not call back.</param>
public sealed class A20Gate(Action<bool> changed)
{
    private readonly Lock _lock = new();
    private bool _isOpen = true;

    /// <summary>A port has the line opened or closed.</summary>
    public void Put(bool open)
    {
        lock (_lock)
        {
            if (open != _isOpen)
            {
                _isOpen = open;
                changed(open);
            }
        }
    }
}
