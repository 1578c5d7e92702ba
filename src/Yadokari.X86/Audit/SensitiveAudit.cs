using Iced.Intel;
using Yadokari.X86.Sensitive;

namespace Yadokari.X86.Audit;

/// <summary>A sensitive instruction found in a file.</summary>
/// <param name="Address">Its virtual address.</param>
/// <param name="Code">Its code in the decoder.</param>
public readonly record struct SensitiveFinding(ulong Address, Code Code);

/// <summary>The number of instructions of one entry of the table.</summary>
/// <param name="Entry">The entry.</param>
/// <param name="Count">Count of instructions found.</param>
public sealed record SensitiveCount(SensitiveInstruction Entry, long Count);

/// <summary>
/// Counts sensitive instructions in code by linear sweep: from the start of each section to its end, one instruction after the other.
/// Data between functions is decoded too, so counts are approximate; after bytes that are not a valid instruction the sweep continues at the
/// next byte. An INT3 that the instruction before it can't reach (after a return, a jump, UD2 or another INT3) is a compiler's padding between
/// functions, and is not counted as an instruction.
/// </summary>
public sealed class SensitiveAudit
{
    private readonly long[] _counts = new long[Enum.GetValues<Code>().Length];
    private readonly List<SensitiveFinding>? _findings;

    /// <summary>Creates an empty audit.</summary>
    /// <param name="keepAddresses">Whether <see cref="Findings"/> is filled.</param>
    public SensitiveAudit(bool keepAddresses = false) => _findings = keepAddresses ? [] : null;

    /// <summary>Instructions decoded, of every class.</summary>
    public long Instructions { get; private set; }

    /// <summary>Bytes of code swept.</summary>
    public long Bytes { get; private set; }

    /// <summary>Count of bytes at which no valid instruction begins: data, or an instruction unknown to the decoder.</summary>
    public long Undecodable { get; private set; }

    /// <summary>Bytes of INT3 that fill gaps.</summary>
    public long Padding { get; private set; }

    /// <summary>Every sensitive instruction, in the order of the sweep, if asked for.</summary>
    public IReadOnlyList<SensitiveFinding> Findings => (IReadOnlyList<SensitiveFinding>?)_findings ?? [];

    /// <summary>Counts by entry, privileged first, the most frequent first.</summary>
    public IReadOnlyList<SensitiveCount> Counts =>
        [.. Enumerable.Range(0, _counts.Length)
            .Where(code => _counts[code] != 0 && SensitiveInstructions.Find((Code)code) is not null)
            .GroupBy(code => SensitiveInstructions.Find((Code)code)!)
            .Select(group => new SensitiveCount(group.Key, group.Sum(code => _counts[code])))
            .OrderByDescending(count => count.Entry.Class)
            .ThenByDescending(count => count.Count)
            .ThenBy(count => count.Entry.Mnemonic.ToString(), StringComparer.Ordinal)];

    /// <summary>Instructions of one class.</summary>
    public long CountOf(SensitivityClass sensitivity) =>
        sensitivity == SensitivityClass.Innocuous
            ? Instructions - CountOf(SensitivityClass.Privileged) - CountOf(SensitivityClass.UnprivilegedSensitive)
            : Counts.Where(count => count.Entry.Class == sensitivity).Sum(count => count.Count);

    /// <summary>Instructions of one form, sensitive or not.</summary>
    public long CountOf(Code code) => _counts[(int)code];

    /// <summary>Adds the instructions of a section.</summary>
    public void Add(CodeSection section)
    {
        var reader = new MemoryCodeReader(section.Bytes);
        Decoder decoder = Decoder.Create(section.Bitness, reader, section.Address);
        Bytes += section.Bytes.Length;
        int position = 0;
        bool reachable = true;
        while (position < section.Bytes.Length)
        {
            decoder.Decode(out Instruction instruction);
            if (instruction.IsInvalid)
            {
                Undecodable++;
                position++;
                reader.Position = position;
                decoder.IP = section.Address + (ulong)position;
                continue;
            }

            position += instruction.Length;
            if (instruction.Code == Code.Int3 && !reachable)
            {
                Padding++;
                continue;
            }

            Instructions++;
            reachable = instruction.Code != Code.Int3
                && instruction.FlowControl is not (FlowControl.Return or FlowControl.UnconditionalBranch or FlowControl.IndirectBranch
                    or FlowControl.Exception);
            _counts[(int)instruction.Code]++;
            if (SensitiveInstructions.Classify(instruction) != SensitivityClass.Innocuous)
            {
                _findings?.Add(new SensitiveFinding(instruction.IP, instruction.Code));
            }
        }
    }

    private sealed class MemoryCodeReader(ReadOnlyMemory<byte> bytes) : CodeReader
    {
        // A copy of the section as an array: reading a byte costs one bounds check; with the memory it would cost creating a span.
        private readonly byte[] _bytes = bytes.ToArray();

        public int Position { get; set; }

        public override int ReadByte() => Position < _bytes.Length ? _bytes[Position++] : -1;
    }
}
