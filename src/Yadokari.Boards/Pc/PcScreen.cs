using Yadokari.Core.Buses;
using Yadokari.Core.Memory;
using Yadokari.Devices.Display;
using Yadokari.Devices.Keyboard;
using Yadokari.Devices.Power;

namespace Yadokari.Boards.Pc;

/// <summary>
/// A PC's VGA text screen and PS/2 keyboard. The screen's registers are always mapped, for systems that move the cursor without probing, also
/// in a machine without a screen.
/// </summary>
public sealed class PcScreen
{
    private readonly bool _isThere;
    private readonly VgaText _vga;

    internal PcScreen(Board board, bool isThere, GuestMemory memory, IInterruptLine irq, A20Gate a20, IBoardMachine machine)
    {
        _isThere = isThere;
        _vga = new VgaText(memory);
        board.AddPorts(
            _vga,
            new(VgaText.FirstMonochromePort, VgaText.MonochromePortCount, _vga.MonochromePorts),
            new(VgaText.FirstPort, VgaText.PortCount, _vga.Ports));
        var keyboard = new I8042(irq, machine.RequestReset, a20, isThere ? new Ps2Keyboard() : null);
        board.AddPorts(keyboard, new(PcLayout.KeyboardData, 1, keyboard.Data), new(PcLayout.KeyboardCommand, 1, keyboard.Command));
        Keyboard = board.Add(new KeyboardInput(keyboard));
    }

    /// <summary>The keyboard, if there is a screen too.</summary>
    public KeyboardInput Keyboard { get; }

    /// <summary>Looks at the screen. Any thread; as <see cref="VgaText.Look"/>.</summary>
    /// <param name="frame">Gets what is shown.</param>
    /// <returns>False where there is none.</returns>
    public bool Look(TextFrame frame)
    {
        if (_isThere)
        {
            _vga.Look(frame);
        }

        return _isThere;
    }
}
