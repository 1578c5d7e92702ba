using Yadokari.Boards.Pc;
using Yadokari.Core.Configuration;
using Yadokari.Devices.Firmware;
using Yadokari.Devices.Interrupts;
using Yadokari.Devices.Power;

namespace Yadokari.Boards.Specs;

/// <summary>Devices for test guests.</summary>
public enum TestDevice
{
    /// <summary>A port: a write of 1, 2 or 4 bytes ends the machine with a code.</summary>
    DebugExit,

    /// <summary>A port: a byte written there is shown on the console.</summary>
    DebugConsole,

    /// <summary>As many ports as the I/O APIC has inputs: a write to one sets the level of its input.</summary>
    TestIrq,

    /// <summary>Memory that is a device, at <see cref="PcLayout.TestMemory"/>, and ports that are, at <see cref="PcLayout.TestLatch"/>.</summary>
    TestMemory,
}

/// <summary>A device that only test guests use.</summary>
/// <param name="Device">Which.</param>
/// <param name="Port">Its first port; null for where it is by custom.</param>
public sealed record TestDeviceSpec(TestDevice Device, ushort? Port = null) : DeviceSpec
{
    private static readonly (string Word, TestDevice Value)[] s_names =
        [("debug-exit", TestDevice.DebugExit), ("debug-console", TestDevice.DebugConsole), ("test-irq", TestDevice.TestIrq), ("test-memory", TestDevice.TestMemory)];

    private static readonly ChoiceMember<TestDeviceSpec, TestDevice> s_name = new("name", "Which", s_names, d => d.Device, (d, device) => d with { Device = device });

    /// <summary>The kind.</summary>
    public static DeviceKind<TestDeviceSpec> TestDevices { get; } = new(new TestDeviceSpec(TestDevice.DebugExit), new SpecObject<TestDeviceSpec>(
        s_name,
        new NumberMember<TestDeviceSpec>("port", "Its first I/O port; by default 0xf4, 0xe9, 0x2000", 0, ushort.MaxValue, d => d.Port, (d, port) => d with { Port = (ushort)port }, "port", "0xf4")))
    {
        Name = "testDevices",
        Option = "--device",
        Help = "Add a device for test guests: " + string.Join(", ", s_names.Select(n => n.Word)),
        MainShape = "NAME",
        Main = s_name.Take,
        Required = ["name"],
    };

    /// <inheritdoc/>
    public override DeviceKind Kind => TestDevices;

    /// <inheritdoc/>
    public override void Check(DeviceContext context)
    {
        if (Device == TestDevice.TestMemory && Port is not null)
        {
            throw context.Error("Memory for test guests has no port", "give test-memory alone", "port");
        }

        if (context.Machine.Devices.OfType<TestDeviceSpec>().Take(context.Number).Any(d => d.Device == Device))
        {
            throw context.Error($"The device {s_names.First(n => n.Value == Device).Word} is there twice, and a machine has one at most", "give it once", "name");
        }
    }

    /// <inheritdoc/>
    public override void Attach(PcBoard board, DeviceContext context, IDisposable? opened)
    {
        try
        {
            switch (Device)
            {
                case TestDevice.DebugExit:
                    board.Wiring.AddPorts(new DebugExit(board.Machine.DebugExit), Port ?? PcLayout.DebugExit, 4);
                    break;
                case TestDevice.DebugConsole:
                    board.Wiring.AddPorts(new DebugConsole(board.ConsoleOutput), Port ?? PcLayout.DebugConsole, 1);
                    break;
                case TestDevice.TestIrq:
                    board.Wiring.AddPorts(new InterruptLines([.. Enumerable.Range(0, PcLayout.IoApicInputs).Select(board.Interrupts.Test)]), Port ?? PcLayout.TestInterruptLines, PcLayout.IoApicInputs);
                    break;
                default:
                    board.Wiring.AddMemory(new TestMemory("test-memory", PcLayout.TestMemorySize), PcLayout.TestMemory, PcLayout.TestMemorySize);
                    board.Wiring.AddPorts(new TestMemory("test-latch", 4), PcLayout.TestLatch, 4);
                    break;
            }
        }
        catch (ArgumentException)
        {
            throw context.Error($"The port {Port ?? PcLayout.DebugExit:x} belongs to another device of the machine", $"give a free one, such as 0x{PcLayout.DebugExit:x}", "port");
        }
    }
}
