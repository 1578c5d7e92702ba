using System.Buffers.Binary;
using Iced.Intel;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>
/// Makes short programs that ask for descriptors and load segment registers, by moves, pops, far pointers and far transfers of control
/// between code of 64, 32 and 16 bits, and that use what they loaded.
/// </summary>
public sealed class DescriptorMaker
{
    // ES, CS, SS, DS, FS, GS: the prefixes for each.
    private static readonly byte[] s_overrides = [0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65];

    private static readonly Segmentation[] s_segmentations =
        [Segmentation.Flat64, Segmentation.Flat32, .. Segmentation.Within(16), .. Segmentation.Within(32)];

    private readonly List<byte> _bytes = [];
    private Prng _random = new(0);
    private MachineImage _image = new();
    private ulong _start;
    private int _bitness;

    /// <summary>Fills the image with a program.</summary>
    public bool TryMake(ulong seed, MachineImage image, out Sample sample)
    {
        _random = new Prng(seed);
        _image = image;
        image.Segments = s_segmentations[_random.Below(s_segmentations.Length)];
        _bitness = image.Bitness;
        RandomState.Fill(image, _random);
        foreach (ref ulong register in image.Gpr.AsSpan(0, 8))
        {
            register = (uint)(_random.OneIn(3) ? (_random.Next() << 16) | Selector() : Selector());
        }

        image.Gpr[4] = Arena.Data + 0x1400 + (ulong)(_random.Below(0x100) * 4) - image.Segments.DataBase;
        image.Gpr[3] = Arena.Data + (ulong)_random.Below(0x2800) - image.Segments.DataBase;
        image.Gpr[6] = Arena.Data + (ulong)_random.Below(0x2800) - image.Segments.DataBase;
        _start = Arena.Code + 0x900 + (ulong)_random.Below(0x600);
        image.Rip = _start - image.Segments.CodeBase;
        _bytes.Clear();
        for (int left = 1 + _random.Below(5); left > 0; left--)
        {
            Add();
        }

        byte[] bytes = [.. _bytes];
        bytes.CopyTo(image.Code);
        sample = new Sample
        {
            Seed = seed,
            CodeLength = bytes.Length,
            Instruction = Decoder.Create(image.Bitness, bytes, image.Rip, ProcessorDifferences.Decoding).Decode(),
        };
        return true;
    }

    private bool Wide => _bitness == 64;

    // Of the local table, one beyond it, null ones, and Linux's for programs.
    private ushort Selector() => _random.Below(12) switch
    {
        0 => (ushort)_random.Below(4),
        1 => Linux(),
        2 => (ushort)((LocalSegment.Table.Count << 3) | 7),
        3 => (ushort)((_random.Below(LocalSegment.Table.Count) << 3) | 4 | _random.Below(4)),
        _ => LocalSegment.Selector(_random.Below(LocalSegment.Table.Count)),
    };

    private ushort CodeSelector() => _random.OneIn(3) ? Selector()
        : _random.Pick(LocalSegment.Selector(0), LocalSegment.Selector(2), Linux(), Linux());

    // Natively a 16-bit stack leaves the upper half of RSP as the kernel had it: no 64-bit code from there.
    private ushort Linux() => _random.Pick<ushort>(0x23, 0x2B, _image.Segments.StackBits == 16 ? (ushort)0x23 : (ushort)0x33);

    private byte Register() => _random.Pick<byte>(0, 1, 2, 5, 7);

    private void Add()
    {
        switch (_random.Below(16))
        {
            case 0 or 1:
                // LAR, LSL.
                Prefix();
                _bytes.AddRange([0x0F, _random.Pick<byte>(2, 3)]);
                _bytes.Add(_random.OneIn(4) ? Memory(Register()) : (byte)(0xC0 | (Register() << 3) | Register()));
                break;
            case 2:
                // VERR, VERW.
                Prefix();
                _bytes.AddRange([0x0F, 0, (byte)(0xC0 | (_random.Pick(4, 5) << 3) | Register())]);
                break;
            case 3 or 4:
                // MOV to a segment register.
                Prefix();
                _bytes.AddRange([0x8E, (byte)(0xC0 | (_random.Pick(0, 0, 2, 3, 3, 4, 5) << 3) | Register())]);
                break;
            case 5:
                // MOV from one.
                Prefix();
                _bytes.AddRange([0x8C, (byte)(0xC0 | (_random.Below(6) << 3) | Register())]);
                break;
            case 6 or 7:
                // PUSH of a selector, POP to a segment register.
                _bytes.Add((byte)(0x50 | Register()));
                Prefix();
                _bytes.AddRange(_random.Below(Wide ? 2 : 5) switch
                {
                    0 => [0x0F, 0xA1],
                    1 => [0x0F, 0xA9],
                    2 => [0x07],
                    3 => [0x17],
                    _ => (byte[])[0x1F],
                });
                break;
            case 8:
                // LSS, LFS, LGS, LES, LDS.
                Pointer(Selector(), ((uint)Selector() << 16) | (ushort)_random.Interesting());
                Prefix();
                _bytes.AddRange(_random.Below(Wide ? 3 : 5) switch
                {
                    0 => [0x0F, 0xB2],
                    1 => [0x0F, 0xB4],
                    2 => [0x0F, 0xB5],
                    3 => [0xC4],
                    _ => (byte[])[0xC5],
                });
                _bytes.Add(Memory(Register()));
                break;
            case 9 or 10 or 11:
                // A load or store by a segment: no load to a register, which would be no selector of both.
                _bytes.Add(s_overrides[_random.Below(6)]);
                _bytes.AddRange([_random.Pick<byte>(0x38, 0x88, 0x39), Memory(Register(), other: true)]);
                break;
            case 12:
                // PUSH and POP.
                _bytes.AddRange([(byte)(0x50 | Register()), (byte)(0x58 | Register())]);
                break;
            default:
                Transfer();
                break;
        }
    }

    // A far transfer to what follows it.
    private void Transfer()
    {
        ushort selector = CodeSelector();
        int wordBytes = _random.OneIn(6) ? (_bitness == 16 ? 4 : 2) : _bitness == 16 ? 2 : 4;
        bool prefix = wordBytes != (_bitness == 16 ? 2 : 4);
        int kind = _random.Below(Wide ? 3 : 6);

        // A push takes the same prefix as the transfer.
        byte[] own = prefix ? [0x66] : [];
        int length;
        switch (kind)
        {
            case 0:
            case 1:
                // JMP, CALL by a pointer in memory.
                length = own.Length + 2;
                Pointer(selector, Offset(selector, length), wordBytes);
                _bytes.AddRange([.. own, 0xFF, Memory(kind == 0 ? (byte)5 : (byte)3)]);
                break;
            case 2:
                // RETF.
                PushFrame(selector, wordBytes, flags: false, own, 1 + own.Length);
                _bytes.AddRange([.. own, 0xCB]);
                break;
            case 3:
                PushFrame(selector, wordBytes, flags: true, own, 1 + own.Length);
                _bytes.AddRange([.. own, 0xCF]);
                break;
            default:
                // JMP, CALL with the pointer in it.
                length = own.Length + 1 + wordBytes + 2;
                uint offset = Offset(selector, length);
                _bytes.AddRange([.. own, kind == 4 ? (byte)0xEA : (byte)0x9A]);
                Word(offset, wordBytes);
                Word(selector, 2);
                break;
        }

        _bitness = BitnessOf(selector);
    }

    private void PushFrame(ushort selector, int wordBytes, bool flags, byte[] own, int after)
    {
        if (flags)
        {
            _bytes.AddRange([.. own, 0x9C]);
        }

        // In 64-bit code what is not 2 bytes is 8: REX.W before the transfer.
        bool rex = Wide && own.Length == 0;
        _bytes.AddRange([.. own, 0x68]);
        Word(selector, wordBytes);
        uint offset = Offset(selector, own.Length + 1 + wordBytes + after + (rex ? 1 : 0));
        _bytes.AddRange([.. own, 0x68]);
        Word(offset, wordBytes);
        if (rex)
        {
            _bytes.Add(0x48);
        }
    }

    // The offset in a code segment of the place so many bytes ahead.
    private uint Offset(ushort selector, int ahead)
    {
        ulong linear = _start + (ulong)(_bytes.Count + ahead);
        int index = selector >> 3;
        bool local = (selector & 4) != 0 && index < LocalSegment.Table.Count;
        return _random.OneIn(12) ? (uint)_random.Interesting() : (uint)(linear - (local ? LocalSegment.Table[index].Base : 0));
    }

    private int BitnessOf(ushort selector)
    {
        int index = selector >> 3;
        return (selector & 4) == 0 ? (selector == 0x33 ? 64 : 32) : index < LocalSegment.Table.Count && !LocalSegment.Table[index].Big ? 16 : 32;
    }

    // A far pointer where RBX points to.
    private void Pointer(ushort selector, uint offset, int bytes = 0)
    {
        ulong linear = _image.Segments.DataBase + _image.Gpr[3];
        bytes = bytes != 0 ? bytes : _bitness == 16 ? 2 : 4;
        Span<byte> pointer = stackalloc byte[6];
        BinaryPrimitives.WriteUInt32LittleEndian(pointer, offset);
        BinaryPrimitives.WriteUInt16LittleEndian(pointer[bytes..], selector);
        for (int i = 0; i < 6; i++)
        {
            int at = Arena.Offset(linear + (ulong)i);
            if (at >= 0)
            {
                _image.Memory[at] = pointer[i];
            }
        }
    }

    // ModRM of [RBX], or of [RSI].
    private byte Memory(byte register, bool other = false)
    {
        int rm = _bitness == 16 ? (other ? 4 : 7) : other ? 6 : 3;
        return (byte)((register << 3) | rm);
    }

    private void Prefix()
    {
        if (_random.OneIn(4))
        {
            _bytes.Add(0x66);
        }

        if (Wide && _random.OneIn(4))
        {
            _bytes.Add((byte)(0x48 | _random.Below(2)));
        }
    }

    private void Word(uint value, int bytes)
    {
        for (int i = 0; i < bytes; i++)
        {
            _bytes.Add((byte)(value >> (8 * i)));
        }
    }
}
