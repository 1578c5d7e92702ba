namespace Yadokari.X86.Audit;

/// <summary>A stretch of machine code.</summary>
/// <param name="Name">A section's name, or "segment 2" where the file has no sections.</param>
/// <param name="Address">Where it is to run.</param>
/// <param name="Bytes">The code.</param>
/// <param name="Bitness">16, 32 or 64.</param>
public sealed record CodeSection(string Name, ulong Address, ReadOnlyMemory<byte> Bytes, int Bitness);
