using Yadokari.Core.Buses;

namespace Yadokari.Devices.Interrupts;

/// <summary>A level-triggered wire that several devices pull, as PCI's INTx and ACPI's SCI are: asserted while any of them asserts.</summary>
/// <param name="target">What the wire leads to.</param>
public sealed class SharedLine(IInterruptLine target)
{
    private readonly OutputPin _output = new(target);
    private readonly Lock _lock = new(); // Innermost: nothing is called while it is held.
    private int _asserting;

    /// <summary>One more device on the wire.</summary>
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
