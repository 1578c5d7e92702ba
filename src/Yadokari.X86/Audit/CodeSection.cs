namespace Yadokari.X86.Audit;

/// <summary>A range of machine code.</summary>
/// <param name="Name">The section's name, or "segment 2" if the file has no sections.</param>
/// <param name="Address">Its virtual address.</param>
/// <param name="Bytes">The code.</param>
/// <param name="Bitness">16, 32 or 64.</param>
public sealed record CodeSection(string Name, ulong Address, ReadOnlyMemory<byte> Bytes, int Bitness);
