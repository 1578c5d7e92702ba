using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Interrupts;

/// <summary>
/// Two cascaded Intel 8259A interrupt controllers, as on a PC/AT: the second one's INT is input 2 of the first. With the edge/level control
/// registers of a PIIX (Intel 82371SB data sheet, 2.5.3.7).
/// </summary>
public sealed class DualPic8259 : IPassiveDevice
{
    private const int Cascade = 2;

    /// <summary>IRQ 0, 1, 2, 8 and 13 are edge triggered, always.</summary>
    private const ushort MayBeLevel = 0xDEF8;

    private readonly Lock _lock = new(); // Innermost: INT is published after leaving it.
    private readonly Pic8259 _first = new(cascade: 1 << Cascade);
    private readonly Pic8259 _second = new(cascade: 0);
    private readonly OutputPin _output;
    private readonly IInterruptLine[] _lines = new IInterruptLine[16];
    private volatile bool _hasInterrupt;

    /// <summary>Wires the pair.</summary>
    /// <param name="output">INT of the first controller: LINT0 of the local APIC. Called with no lock held.</param>
    public DualPic8259(IInterruptLine output)
    {
        _output = new OutputPin(output);
        First = new BytePorts(2, port => Read(_first, port), (port, value) => Write(_first, port, value));
        Second = new BytePorts(2, port => Read(_second, port), (port, value) => Write(_second, port, value));
        EdgeLevelControl = new BytePorts(2, ReadEdgeLevel, WriteEdgeLevel);
        for (int i = 0; i < _lines.Length; i++)
        {
            _lines[i] = new Input(this, i);
        }
    }

    /// <summary>Ports 0x20 and 0x21.</summary>
    public IBusDevice First { get; }

    /// <summary>Ports 0xA0 and 0xA1.</summary>
    public IBusDevice Second { get; }

    /// <summary>Ports 0x4D0 and 0x4D1: which requests are level triggered.</summary>
    public IBusDevice EdgeLevelControl { get; }

    /// <summary>Whether INT is raised. Any thread, no lock.</summary>
    public bool HasInterrupt => _hasInterrupt;

    /// <summary>The input of IRQ 0 to 15 (2 is the cascade and not connected).</summary>
    public IInterruptLine Line(int irq) => _lines[irq];

    /// <summary>Whether an IRQ is not masked. Any thread.</summary>
    public bool IsUnmasked(int irq)
    {
        lock (_lock)
        {
            return (irq < 8 ? _first : _second).IsUnmasked(irq & 7);
        }
    }

    /// <summary>Whether an unmasked IRQ is pending (IRR) and awaits its INTA. Any thread.</summary>
    public bool IsPending(int irq)
    {
        lock (_lock)
        {
            return (irq < 8 ? _first : _second).IsPending(irq & 7);
        }
    }

    /// <summary>
    /// Both INTA cycles. Returns the vector, or -1 if INT is low: the processor's view of INT may be out of date. Hardware would give a spurious
    /// interrupt (IRQ 7) then, which some guests count; here there are none.
    /// </summary>
    public int Acknowledge()
    {
        int vector;
        lock (_lock)
        {
            if (!_first.Output)
            {
                return -1;
            }

            int input = _first.Acknowledge();
            vector = input == Cascade ? _second.Vector(_second.Acknowledge()) : _first.Vector(input);
            Update();
        }

        _output.Publish();
        return vector;
    }

    /// <inheritdoc/>
    public string Name => "pic";

    /// <summary>The state after power-on: everything masked until initialised. The levels of the inputs are unchanged: devices drive them.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _first.Reset();
            _second.Reset();
            Update();
        }

        _output.Publish();
    }

    private byte Read(Pic8259 chip, int port)
    {
        byte value;
        lock (_lock)
        {
            value = chip.Read(port);
            Update(); // A poll acknowledges.
        }

        _output.Publish();
        return value;
    }

    private void Write(Pic8259 chip, int port, byte value)
    {
        lock (_lock)
        {
            chip.Write(port, value);
            Update();
        }

        _output.Publish();
    }

    private byte ReadEdgeLevel(int port)
    {
        lock (_lock)
        {
            return port == 0 ? _first.LevelTriggered : _second.LevelTriggered;
        }
    }

    private void WriteEdgeLevel(int port, byte value)
    {
        lock (_lock)
        {
            if (port == 0)
            {
                _first.LevelTriggered = (byte)(value & MayBeLevel);
            }
            else
            {
                _second.LevelTriggered = (byte)(value & (MayBeLevel >> 8));
            }

            Update();
        }

        _output.Publish();
    }

    private void SetLine(int irq, bool asserted)
    {
        if (irq == Cascade)
        {
            return;
        }

        lock (_lock)
        {
            (irq < 8 ? _first : _second).SetLine(irq & 7, asserted);
            Update();
        }

        _output.Publish();
    }

    private void Update()
    {
        _first.SetLine(Cascade, _second.Output);
        bool output = _first.Output;
        _hasInterrupt = output;
        _output.Put(output);
    }

    private sealed class Input(DualPic8259 pic, int irq) : IInterruptLine
    {
        public void Set(bool asserted) => pic.SetLine(irq, asserted);
    }
}
