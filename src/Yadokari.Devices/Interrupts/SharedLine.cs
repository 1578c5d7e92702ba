using Yadokari.Core.Buses;

namespace Yadokari.Devices.Interrupts;

/// <summary>A level-triggered line shared by several devices, as PCI's INTx and ACPI's SCI are (wired OR): asserted while any of them asserts it.</summary>
/// <param name="target">The input that the line is connected to.</param>
public sealed class SharedLine(IInterruptLine target)
{
    private readonly OutputPin _output = new(target);
    private readonly Lock _lock = new(); // Innermost: nothing is called while it is held.
    private int _asserting;

    /// <summary>Connects another device.</summary>
    public IInterruptLine NewInput() => new Input(this);

    private sealed class Input(SharedLine line) : IInterruptLine
    {
        private bool _asserted;

        public void Set(bool asserted)
        {
            lock (line._lock)
            {
                if (_asserted == asserted)
                {
                    return;
                }

                _asserted = asserted;
                line._asserting += asserted ? 1 : -1;
                line._output.Put(line._asserting > 0);
            }

            line._output.Publish();
        }
    }
}
