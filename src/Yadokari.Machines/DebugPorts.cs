namespace Yadokari.Machines;

/// <summary>Ports for test guests; null for those that a machine does not have.</summary>
/// <param name="Exit">A write here, of 1, 2 or 4 bytes, ends the machine with a code.</param>
/// <param name="Console">A byte written here is shown on the console.</param>
public sealed record DebugPorts(ushort? Exit = null, ushort? Console = null);
