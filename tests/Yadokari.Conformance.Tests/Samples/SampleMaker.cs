using System.Runtime.InteropServices;
using Iced.Intel;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>Makes random instances of an instruction, with a state in which it does something worth looking at.</summary>
public sealed class SampleMaker(IReadOnlyList<Segmentation> segmentations)
{
    private sealed class Writer : CodeWriter
    {
        public List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }

    private readonly int _bitness = segmentations[0].Bitness;
    private readonly Writer _writer = new();

    /// <summary>Makes programs in flat segments.</summary>
    public SampleMaker(int bitness = 64)
        : this([Segmentation.Flat(bitness)])
    {
    }

    /// <summary>
    /// Fills the image with a random state and an instance of the instruction. False when this seed's operands have no encoding
    /// (AH with a REX prefix and the like): try another.
    /// </summary>
    public bool TryMake(Code code, ulong seed, Placement placement, MachineImage image, out Sample sample)
    {
        Prng random = new(seed);
        image.Segments = segmentations[(int)(seed % (ulong)segmentations.Count)];
        RandomState.Fill(image, random);
        sample = new Sample { Seed = seed };
        ulong start = Arena.Code + 0x900 + (ulong)random.Below(0x600);
        if (random.OneIn(16))
        {
            start = Arena.Code + 0x1000 - (ulong)random.Below(16);
        }

        image.Rip = start - image.Segments.CodeBase;

        OperandMaker operands = new(random, placement, image, code);
        if (!operands.TryMake(out Instruction instruction))
        {
            return false;
        }

        _writer.Bytes.Clear();
        Encoder encoder = Encoder.Create(_bitness, _writer);
        if (!encoder.TryEncode(instruction, image.Rip, out _, out _))
        {
            return false;
        }

        Span<byte> bytes = CollectionsMarshal.AsSpan(_writer.Bytes);
        Instruction decoded = Decoder.Create(_bitness, bytes.ToArray(), image.Rip, ProcessorDifferences.Decoding).Decode();
        if (decoded.Code != code || decoded.Length != bytes.Length)
        {
            return false;
        }

        bytes.CopyTo(image.Code);
        sample.Instruction = decoded;
        sample.CodeLength = bytes.Length;
        sample.Target = operands.Target;
        sample.UndefinedFlags = ToRflags(decoded.RflagsUndefined);
        Circumstances.Arrange(decoded, operands, random, placement, image);
        if (image.Segments.StackBits == 16 && !operands.IsLocked(4))
        {
            image.Gpr[4] = (image.Gpr[4] & 0xFFFF) | (random.Next() << 16);
        }

        if (_bitness != 64)
        {
            // The upper halves are undefined after 32-bit code (Intel SDM volume 1, 3.4.1.1).
            foreach (ref ulong register in image.Gpr.AsSpan(0, 8))
            {
                register = (uint)register;
            }
        }

        Describe(sample, image);
        return true;
    }

    /// <summary>RFLAGS bits of Iced's flags.</summary>
    public static ulong ToRflags(RflagsBits bits)
    {
        ulong flags = 0;
        flags |= (bits & RflagsBits.CF) != 0 ? 1UL : 0;
        flags |= (bits & RflagsBits.PF) != 0 ? 4UL : 0;
        flags |= (bits & RflagsBits.AF) != 0 ? 0x10UL : 0;
        flags |= (bits & RflagsBits.ZF) != 0 ? 0x40UL : 0;
        flags |= (bits & RflagsBits.SF) != 0 ? 0x80UL : 0;
        flags |= (bits & RflagsBits.OF) != 0 ? 0x800UL : 0;
        return flags;
    }

    /// <summary>What a comparison must know of an instruction whose memory operand goes to <see cref="Sample.Target"/>.</summary>
    public static void Describe(Sample sample, MachineImage image)
    {
        Instruction instruction = sample.Instruction;
        OpCodeInfo info = instruction.OpCode;
        string name = instruction.Mnemonic.ToString();
        sample.PartialOnFault = info.IsSaveRestore || instruction.IsVsib || instruction.Mnemonic is Mnemonic.Enter or Mnemonic.Fnsave
            or Mnemonic.Fsave or Mnemonic.Fnstenv or Mnemonic.Fstenv or Mnemonic.Frstor or Mnemonic.Fldenv
            || name.Contains("compress", StringComparison.OrdinalIgnoreCase);

        // Intel SDM volume 1, figures 8-9 to 8-12, and volume 2, FXSAVE: FIP, FCS, FOP, FDP, FDS.
        (int start, int end) = instruction.MemorySize switch
        {
            MemorySize.FpuEnv14 or MemorySize.FpuState94 => (6, 14),
            MemorySize.FpuEnv28 or MemorySize.FpuState108 => (12, 28),
            MemorySize.Fxsave_512Byte or MemorySize.Fxsave64_512Byte => (6, 24),
            _ => (0, 0),
        };
        if (end != 0 && Arena.Offset(sample.Target) >= 0)
        {
            sample.IgnoredMemory = (Arena.Offset(sample.Target) + start)..(Arena.Offset(sample.Target) + end);
        }
    }
}
