using Iced.Intel;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>
/// Makes short programs of software interrupts, breakpoints and POPFs that set the trap flag and alignment checking, with prefixes, within a
/// page and across pages.
/// </summary>
public sealed class TrapMaker(int bitness)
{
    private readonly List<byte> _bytes = [];

    /// <summary>Fills the image with a program.</summary>
    public bool TryMake(ulong seed, MachineImage image, out Sample sample)
    {
        Prng random = new(seed);
        image.Segments = Segmentation.Flat(bitness);
        RandomState.Fill(image, random);
        image.Gpr[0] = 0x2B;
        image.Gpr[4] = Arena.Data + 0x1400 + (ulong)(random.Below(0x100) * 8);
        for (ulong at = image.Gpr[4]; at < image.Gpr[4] + 0x80; at += 8)
        {
            // What POPF takes: not NT, which the host's kernel may clear at any time.
            image.Write64(at, image.Read64(at) & ~0x4000UL);
        }

        foreach (ref ulong register in image.Gpr.AsSpan())
        {
            register = bitness == 32 ? (uint)register : register;
        }

        _bytes.Clear();
        for (int left = 1 + random.Below(5); left > 0; left--)
        {
            Add(random);
        }

        image.Rip = random.OneIn(2) ? Arena.Code + 0x900 + (ulong)random.Below(0x600) : Arena.Code + 0x1000 - (ulong)random.Below(_bytes.Count + 1);
        byte[] bytes = [.. _bytes];
        bytes.CopyTo(image.Code);
        sample = new Sample
        {
            Seed = seed,
            CodeLength = bytes.Length,
            Instruction = Decoder.Create(bitness, bytes, image.Rip, ProcessorDifferences.Decoding).Decode(),
        };
        return true;
    }

    private void Add(Prng random)
    {
        if (random.OneIn(8))
        {
            _bytes.Add(random.Pick<byte>(0x66, 0x67, 0xF2, 0xF3, 0x2E, 0x3E, 0x64));
        }

        switch (random.Below(14))
        {
            case 0 or 1 or 2:
                // PUSHF, OR of TF or AC to what was pushed, POPF.
                _bytes.AddRange([0x9C, 0x81, 0x0C, 0x24, 0, random.Pick<byte>(0, 1, 1), random.Pick<byte>(0, 0, 4), 0, 0x9D]);
                break;
            case 3:
                // Two PUSHFs around it: the second POPF takes the flags back.
                _bytes.AddRange([0x9C, 0x9C, 0x81, 0x0C, 0x24, 0, 1, random.Pick<byte>(0, 4), 0, 0x9D, 0x9D]);
                break;
            case 4:
                _bytes.AddRange([0xCD, random.Pick<byte>(3, 4)]);
                break;
            case 5:
                // Not INT 80h, by which Linux may do something, nor those that a host which is a guest itself may keep for its own.
                byte vector = (byte)(random.Next() | 0x20);
                _bytes.AddRange([0xCD, vector == 0x80 ? (byte)0x81 : vector]);
                break;
            case 6:
                _bytes.Add(0xCC);
                break;
            case 7:
                _bytes.Add(0xF1);
                break;
            case 8:
                _bytes.AddRange(random.OneIn(2) ? [0x0F, 0x0B] : [0xCE]);
                break;
            case 9:
                // MOV SS, which holds a step's trap off for an instruction.
                _bytes.AddRange([0x8E, 0xD0]);
                break;
            case 10:
                // INT 4's bytes as an operand, before a HLT that is jumped to.
                _bytes.AddRange([0xEB, 0x02, 0xCD, 0x04, random.Pick<byte>(0xF4, 0xFA, 0x90)]);
                break;
            case 11:
                // A read that may be misaligned.
                _bytes.AddRange([0x8B, 0x5C, 0x24, (byte)random.Below(8)]);
                break;
            case 12:
                _bytes.AddRange([0x9D]);
                break;
            default:
                _bytes.Add(0x90);
                break;
        }
    }
}
