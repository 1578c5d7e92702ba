namespace Yadokari.Boards.Pc;

/// <summary>Ports and memory for test guests; null for those that a machine does not have.</summary>
/// <param name="Exit">A write here, of 1, 2 or 4 bytes, ends the machine with a code.</param>
/// <param name="Console">A byte written here is shown on the console.</param>
/// <param name="InterruptLines">The first of as many ports as the I/O APIC has inputs: a write to one sets the level of its input.</param>
/// <param name="Memory">Memory that is a device, at <see cref="PcLayout.TestMemory"/>, and ports that are, at <see cref="PcLayout.TestLatch"/>.</param>
public sealed record DebugPorts(ushort? Exit = null, ushort? Console = null, ushort? InterruptLines = null, bool Memory = false);
