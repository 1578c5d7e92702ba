using System.Runtime.InteropServices;
using Iced.Intel;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>
/// Makes programs whose first instruction no assembler would write: prefixes and REX that mean nothing, stand in the wrong place or are too
/// many, any opcode, more than 15 bytes; in the middle of a page, across pages, and at the end of the last one.
/// </summary>
public sealed class EncodingMaker(IReadOnlyList<Segmentation> segmentations)
{
    private static readonly byte[] s_prefixes = [0x66, 0x67, 0xF2, 0xF3, 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0xF0];

    private readonly int _bitness = segmentations[0].Bitness;
    private readonly SampleMaker _samples = new(segmentations);
    private readonly Code[] _codes = [.. InstructionCatalog.Groups(segmentations[0].Bitness).Values.SelectMany(c => c)];
    private readonly List<byte> _bytes = [];

    /// <summary>Makes programs in flat segments.</summary>
    public EncodingMaker(int bitness)
        : this([Segmentation.Flat(bitness)])
    {
    }

    /// <summary>An instruction of the catalogue among prefixes. False when this seed has none that can be compared: try another.</summary>
    public bool TryMakePrefixed(ulong seed, MachineImage image, out Sample sample)
    {
        Prng random = new(seed ^ 0x5DEE_CE66);
        if (!_samples.TryMake(random.Pick<Code>(_codes), seed, random.OneIn(2) ? Placement.Mixed : Placement.Edges, image, out sample))
        {
            return false;
        }

        Span<byte> code = image.Code[..sample.CodeLength];
        _bytes.Clear();
        _bytes.AddRange(code);
        code.Fill(0xCC);
        int own = 0;
        while (own < _bytes.Count && IsPrefix(_bytes[own]))
        {
            own++;
        }

        for (int left = random.OneIn(6) ? random.Below(16) : 1 + random.Below(3); left > 0; left--)
        {
            // Among the instruction's own prefixes, or before them.
            _bytes.Insert(random.Below(own + 1), Prefix(random));
            own++;
        }

        return Place(seed, random, image, out sample);
    }

    /// <summary>An opcode of any map with whatever follows.</summary>
    public bool TryMakeAny(ulong seed, MachineImage image, out Sample sample)
    {
        Prng random = new(seed);
        image.Segments = segmentations[(int)(seed % (ulong)segmentations.Count)];
        RandomState.Fill(image, random);
        foreach (ref ulong register in image.Gpr.AsSpan())
        {
            register = random.OneIn(6) ? register : Placement.Mixed.Choose(random, 16, low: _bitness != 64 || random.OneIn(2));
            register = _bitness == 64 ? register : (uint)(register - image.Segments.DataBase);
        }

        _bytes.Clear();
        for (int left = random.OneIn(2) ? 0 : random.Below(4); left > 0; left--)
        {
            _bytes.Add(Prefix(random));
        }

        switch (random.Below(6))
        {
            case 0 or 1:
                break;
            case 2 or 3:
                _bytes.Add(0x0F);
                break;
            case 4:
                _bytes.AddRange([0x0F, random.Pick<byte>(0x38, 0x3A)]);
                break;
            default:
                Vector(random);
                break;
        }

        _bytes.Add((byte)random.Next());
        _bytes.Add(Operand(random));
        for (int i = 0; i < 10; i++)
        {
            _bytes.Add(random.OneIn(3) ? (byte)0 : (byte)random.Next());
        }

        return Place(seed, random, image, out sample);
    }

    private static bool IsPrefix(byte value) => Array.IndexOf(s_prefixes, value) >= 0;

    private byte Prefix(Prng random) => _bitness == 64 && random.OneIn(3) ? (byte)(0x40 | random.Below(16)) : random.Pick<byte>(s_prefixes);

    // Registers, or an address that is one register.
    private byte Operand(Prng random)
    {
        byte value = (byte)random.Next();
        return random.OneIn(3) ? value : random.OneIn(2) ? (byte)(value | 0xC0) : (byte)(value & 0x38 | random.Pick(0, 1, 2, 3, 6, 7));
    }

    private void Vector(Prng random)
    {
        switch (random.Below(4))
        {
            case 0:
                _bytes.AddRange([0xC5, (byte)random.Next()]);
                break;
            case 1:
                _bytes.AddRange([0xC4, (byte)(random.Next() & 0xE0 | (uint)random.Below(5)), (byte)random.Next()]);
                break;
            case 2:
                _bytes.AddRange([0x8F, (byte)(random.Next() & 0xE0 | 8 | (uint)random.Below(4)), (byte)random.Next()]);
                break;
            default:
                _bytes.AddRange([0x62, (byte)(random.Next() & 0xF0 | (uint)random.Below(8)), (byte)(random.Next() | 4), (byte)random.Next()]);
                break;
        }
    }

    // Whether the bytes make no instruction even without what makes them too long.
    private bool HasNoInstruction()
    {
        int prefixes = 0;
        while (IsPrefix(_bytes[prefixes]) || (_bitness == 64 && (_bytes[prefixes] & 0xF0) == 0x40))
        {
            prefixes++;
        }

        List<byte> shortened = [.. _bytes.Take(prefixes).Where(b => b is 0x66 or 0x67 or 0xF0).Distinct()];
        shortened.AddRange(_bytes.Take(prefixes).Where(b => b is 0xF2 or 0xF3).TakeLast(1));
        shortened.AddRange(_bytes.Take(prefixes).TakeLast(1).Where(b => !IsPrefix(b)));
        shortened.AddRange(_bytes.Skip(prefixes));
        return Decoder.Create(_bitness, shortened.ToArray(), 0, ProcessorDifferences.Decoding).Decode().IsInvalid;
    }

    // Where the explicit memory operand goes, or 0.
    private static ulong TargetOf(in Instruction instruction, MachineImage image)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory && !instruction.IsVsib && instruction.TryGetVirtualAddress(i, 0, out ulong target, ValueOf))
            {
                return image.Bitness == 64 ? target : (uint)target;
            }
        }

        return 0;

        bool ValueOf(Register register, int element, int size, out ulong value)
        {
            value = register.IsSegmentRegister() ? register == Register.CS ? image.Segments.CodeBase : image.Segments.DataBase : image.Gpr[register.GetNumber()];
            value = register.IsGPR32() ? (uint)value : register.IsGPR16() ? (ushort)value : register.IsGPR8() ? (byte)value : value;
            return true;
        }
    }

    private bool Place(ulong seed, Prng random, MachineImage image, out Sample sample)
    {
        Span<byte> bytes = CollectionsMarshal.AsSpan(_bytes);
        Decoder decoder = Decoder.Create(_bitness, bytes.ToArray(), image.Rip, ProcessorDifferences.Decoding);
        Instruction decoded = decoder.Decode();
        int length = decoded.IsInvalid ? bytes.Length : decoded.Length;
        ulong end = Arena.Code + Arena.CodeLength;
        ulong start = random.Below(6) switch
        {
            0 => end - (ulong)(1 + random.Below(length)),
            1 => end - (ulong)length,
            2 => Arena.Code + 0x1000 - (ulong)random.Below(length + 1),
            _ => Arena.Code + 0x900 + (ulong)random.Below(0x600),
        };
        image.Rip = start - image.Segments.CodeBase;
        Span<byte> room = image.Memory.AsSpan((int)(start - Arena.Code), (int)(end - start));
        length = Math.Min(length, room.Length);
        bytes[..length].CopyTo(room);
        decoder = Decoder.Create(_bitness, room[..Math.Min(16, room.Length)].ToArray(), image.Rip, ProcessorDifferences.Decoding);
        decoded = decoder.Decode();
        sample = new Sample
        {
            Seed = seed,
            Instruction = decoded,
            CodeLength = decoded.IsInvalid ? length : decoded.Length,
            HasUnknownLength = HasNoInstruction(),
            UndefinedFlags = SampleMaker.ToRflags(decoded.RflagsUndefined),
            Target = TargetOf(decoded, image),
        };
        SampleMaker.Describe(sample, image);
        if (decoded.Mnemonic is Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne)
        {
            // To itself, it would take seconds.
            image.Gpr[1] &= 0xFFF;
        }

        return decoded.IsInvalid || InstructionCatalog.WhyNot(decoded.Code, _bitness) is null;
    }
}
