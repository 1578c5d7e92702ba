using Yadokari.Core;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Devices.Firmware;
using Yadokari.Devices.Interrupts;
using Yadokari.Devices.Power;
using Yadokari.Devices.Serial;

namespace Yadokari.Boards.Pc;

/// <summary>Puts the ports and the memory for test guests on a board.</summary>
internal readonly ref struct PcDebugPorts(Board board, DebugPorts ports)
{
    /// <summary>Adds those that are asked for.</summary>
    /// <param name="console">Where the debug console writes.</param>
    /// <param name="line">The interrupt line of a number.</param>
    /// <param name="machine">The machine.</param>
    /// <exception cref="UserErrorException">A port belongs to another device.</exception>
    public void Add(IConsole console, Func<int, IInterruptLine> line, IBoardMachine machine)
    {
        Add(ports.Console, 1, new DebugConsole(console));

        // Input 2 of the I/O APIC is the timer's; of the 8259s it is the cascade.
        Add(ports.InterruptLines, PcLayout.IoApicInputs, new InterruptLines([.. Enumerable.Range(0, PcLayout.IoApicInputs).Select(line)]));
        if (ports.Memory)
        {
            board.AddMemory(new TestMemory("test-memory", PcLayout.TestMemorySize), PcLayout.TestMemory, PcLayout.TestMemorySize);
            board.AddPorts(new TestMemory("test-latch", 4), PcLayout.TestLatch, 4);
        }

        Add(ports.Exit, 4, new DebugExit(machine.DebugExit));
    }

    private void Add<T>(ushort? port, ushort length, T device)
        where T : IDevice, IBusDevice
    {
        if (port is not { } start)
        {
            return;
        }

        try
        {
            board.AddPorts(device, start, length);
        }
        catch (ArgumentException)
        {
            throw new UserErrorException($"The port {start:x} of {device.Name} belongs to another device of the machine: give a free one, such as {PcLayout.DebugExit:x}.");
        }
    }
}
