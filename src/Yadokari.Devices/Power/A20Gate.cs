namespace Yadokari.Devices.Power;

/// <summary>
/// Address line 20 of a PC/AT: programs for the first PC rely on addresses that wrap around at 1 MiB, so the line is tied to 0 until one of two
/// ports opens it (IBM PS/2 hardware interface technical reference, system control port A; Intel 82371SB data sheet, A20M#).
/// </summary>
/// <param name="changed">Told whether the line is open now. On the thread that changed it, with the gate's lock held: it must not call back.</param>
public sealed class A20Gate(Action<bool> changed)
{
    private readonly Lock _lock = new();
    private bool _byKeyboardController = true;
    private bool _byPortA;

    /// <summary>What the keyboard controller's output port asks for.</summary>
    public bool ByKeyboardController
    {
        set => Set(ref _byKeyboardController, value);
    }

    /// <summary>What system control port A asks for.</summary>
    public bool ByPortA
    {
        set => Set(ref _byPortA, value);
    }

    private void Set(ref bool input, bool value)
    {
        lock (_lock)
        {
            bool before = _byKeyboardController || _byPortA;
            input = value;
            bool after = _byKeyboardController || _byPortA;
            if (after != before)
            {
                changed(after);
            }
        }
    }
}
