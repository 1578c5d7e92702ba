using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>Random machine states that reach the corners: edge values, special floating-point numbers, all rounding modes.</summary>
public static class RandomState
{
    private static readonly uint[] s_singles =
        [0, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7FA0_0001, 1, 0x807F_FFFF, 0x7F7F_FFFF, 0x4F00_0000];

    private static readonly ulong[] s_doubles =
    [
        0, 0x8000_0000_0000_0000, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000,
        0x7FF8_0000_0000_0000, 0x7FF4_0000_0000_0001, 1, 0x800F_FFFF_FFFF_FFFF, 0x7FEF_FFFF_FFFF_FFFF, 0x43E0_0000_0000_0000,
    ];

    /// <summary>Fills registers, flags, vector and x87 state and all data pages; code pages get INT3s.</summary>
    public static void Fill(MachineImage image, Prng random)
    {
        for (int i = 0; i < 16; i++)
        {
            image.Gpr[i] = random.Interesting();
        }

        image.Gpr[4] = (image.Bitness == 64 && random.OneIn(4) ? Arena.High : Arena.Data + 0x1000) + 0x400 + (ulong)(random.Below(0x180) * 8) - image.Segments.DataBase;
        image.Rflags = 0x202 | (random.Next() & 0x8D5) | (random.OneIn(4) ? 0x400UL : 0);
        FillMemory(image, random);
        FillVectors(image.Xsave, random);
        FillX87(image.Xsave, random);
        FillMxcsr(image.Xsave, random);
    }

    /// <summary>64 random bytes that make sense as integers, singles or doubles.</summary>
    public static void FillVector(Span<byte> value, Prng random)
    {
        Span<ulong> quads = MemoryMarshal.Cast<byte, ulong>(value);
        Span<uint> words = MemoryMarshal.Cast<byte, uint>(value);
        switch (random.Below(5))
        {
            case 0:
                foreach (ref ulong quad in quads)
                {
                    quad = random.Next();
                }

                break;
            case 1:
                foreach (ref uint word in words)
                {
                    word = random.OneIn(4) ? random.Pick<uint>(s_singles) : BitConverter.SingleToUInt32Bits(SmallNumber(random));
                }

                break;
            case 2:
                foreach (ref ulong quad in quads)
                {
                    quad = random.OneIn(4) ? random.Pick<ulong>(s_doubles) : BitConverter.DoubleToUInt64Bits(SmallNumber(random));
                }

                break;
            case 3:
                foreach (ref ulong quad in quads)
                {
                    quad = random.Interesting();
                }

                break;
            default:
                foreach (ref uint word in words)
                {
                    word = (uint)random.Interesting();
                }

                break;
        }
    }

    private static float SmallNumber(Prng random)
    {
        float value = (random.Below(2_000_001) - 1_000_000) / (float)(1 << random.Below(24));
        return random.OneIn(3) ? random.Below(100) - 50 : value;
    }

    private static void FillMemory(MachineImage image, Prng random)
    {
        Span<byte> memory = image.Memory;
        memory[..Arena.CodeLength].Fill(0xCC);
        memory = memory[Arena.CodeLength..];

        // Kilobytes of the same few vectors in another order are as good as random ones, and quick.
        Span<byte> patterns = stackalloc byte[16 * 64];
        for (int i = 0; i < 16; i++)
        {
            FillVector(patterns.Slice(i * 64, 64), random);
        }

        for (int i = 0; i < memory.Length; i += 64)
        {
            if (random.OneIn(8))
            {
                FillVector(memory.Slice(i, 64), random);
            }
            else
            {
                patterns.Slice(random.Below(16 * 8 - 8) * 8, 64).CopyTo(memory[i..]);
            }
        }
    }

    private static void FillVectors(Span<byte> area, Prng random)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(area[512..], XsaveLayout.Components);
        Span<byte> vector = stackalloc byte[64];
        int count = XsaveLayout.HasAvx512 ? 32 : 16;
        for (int i = 0; i < count; i++)
        {
            FillVector(vector, random);
            XsaveLayout.WriteVector(area, i, vector);
        }

        if (XsaveLayout.HasAvx512)
        {
            for (int i = 0; i < 8; i++)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(area[(XsaveLayout.Opmask + (i * 8))..], random.Pick(random.Next(), random.Next(), ulong.MaxValue, random.Interesting()));
            }
        }
    }

    private static void FillX87(Span<byte> area, Prng random)
    {
        // Precision and rounding control; the exceptions mostly masked, as every operating system has it.
        int control = 0x7F | (random.Pick(0x300, 0x300, 0x200, 0x000)) | (random.Below(4) << 10);
        if (random.OneIn(10))
        {
            control &= ~(1 << random.Below(6));
        }

        // Now and then one of those that are not masked is pending already.
        int exceptions = random.OneIn(2) ? 0 : random.Below(64) & (random.OneIn(4) ? 0x3F : control);
        int status = (random.Below(8) << 11) | (random.Below(16) is var c ? ((c & 7) << 8) | ((c & 8) << 11) : 0) | exceptions;
        status |= (exceptions & ~control & 0x3F) != 0 ? 0x8080 : 0;
        area[..24].Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(area[6..], (ushort)random.Below(0x800));
        BinaryPrimitives.WriteUInt64LittleEndian(area[8..], random.Next() >> 17);
        BinaryPrimitives.WriteUInt64LittleEndian(area[16..], random.Next() >> 17);
        BinaryPrimitives.WriteUInt16LittleEndian(area, (ushort)control);
        BinaryPrimitives.WriteUInt16LittleEndian(area[2..], (ushort)status);
        area[4] = random.Pick<byte>(0xFF, 0xFF, 0, (byte)random.Next());
        for (int i = 0; i < 8; i++)
        {
            Span<byte> register = area.Slice(32 + (i * 16), 16);
            register.Clear();
            ulong significand = random.Below(6) switch
            {
                0 => 0x8000_0000_0000_0000,
                1 => 0,
                2 => random.Next() & 0xFFFF_0000_0000_0000 | 0x8000_0000_0000_0000,
                3 => random.Next(),
                _ => random.Next() | 0x8000_0000_0000_0000,
            };
            int exponent = significand == 0 ? 0 : random.Below(8) switch
            {
                0 => 0x7FFF,
                1 => 0,
                2 => random.Below(0x8000),
                _ => 0x3FFF - 30 + random.Below(70),
            };
            BinaryPrimitives.WriteUInt64LittleEndian(register, significand);
            BinaryPrimitives.WriteUInt16LittleEndian(register[8..], (ushort)(exponent | (random.Below(2) << 15)));
        }
    }

    private static void FillMxcsr(Span<byte> area, Prng random)
    {
        uint mxcsr = 0x1F80;
        if (!random.OneIn(3))
        {
            mxcsr |= (uint)random.Below(4) << 13 | (uint)random.Below(64);
            mxcsr |= random.OneIn(4) ? 0x8000u : 0;
            mxcsr |= random.OneIn(4) ? 0x40u : 0;
        }

        if (random.OneIn(10))
        {
            mxcsr &= ~(0x80u << random.Below(6));
        }

        BinaryPrimitives.WriteUInt32LittleEndian(area[24..], mxcsr);
        BinaryPrimitives.WriteUInt32LittleEndian(area[28..], 0xFFFF);
    }
}
