using System.Buffers.Binary;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>Load addresses of a kernel that is not an ELF file, or asks not to be loaded as one.</summary>
/// <param name="Header">Physical address of the header.</param>
/// <param name="Load">Physical address of the first byte loaded.</param>
/// <param name="LoadEnd">First address after the loaded bytes; 0 to load to the file's end.</param>
/// <param name="BssEnd">First address after the cleared bytes; 0 for none.</param>
public sealed record MultibootAddresses(uint Header, uint Load, uint LoadEnd, uint BssEnd);

/// <summary>
/// A kernel's requests to the boot loader: Multiboot Specification 0.6.96, section 3.1, or Multiboot2 Specification 2.0, section 3.1.
/// </summary>
/// <param name="Version">1 or 2.</param>
/// <param name="Offset">Offset of the header in the file.</param>
/// <param name="Addresses">Load addresses; null for an ELF file.</param>
/// <param name="Entry">Physical address of the entry point; null if the header gives none.</param>
/// <param name="Unsupported">The first request that this monitor does not support; null if there is none.</param>
public sealed record MultibootHeader(int Version, int Offset, MultibootAddresses? Addresses, uint? Entry, string? Unsupported)
{
    private const uint Magic1 = 0x1BAD_B002;
    private const uint Magic2 = 0xE852_50D6;
    private const int Search1 = 8192;
    private const int Search2 = 32768;
    private const uint AddressFields = 1 << 16;

    // A loader must support all requests in bits 0 to 15; here aligned modules and memory information.
    private const uint Supported = 3;

    /// <summary>Finds a header: that of the first version if the file has both. Null without a header.</summary>
    public static MultibootHeader? Find(ReadOnlySpan<byte> file) => Find1(file) ?? Find2(file);

    private static MultibootHeader? Find1(ReadOnlySpan<byte> file)
    {
        for (int at = 0; at + 12 <= Math.Min(file.Length, Search1); at += 4)
        {
            ReadOnlySpan<byte> header = file[at..];
            uint flags = Word(header, 4);
            if (Word(header, 0) != Magic1 || Magic1 + flags + Word(header, 8) != 0)
            {
                continue;
            }

            uint unknown = flags & 0xFFFF & ~Supported;
            string? unsupported = unknown == 0 ? null : (unknown & 4) != 0 ? "a video mode" : $"feature {System.Numerics.BitOperations.TrailingZeroCount(unknown)}";
            if ((flags & AddressFields) == 0)
            {
                return new MultibootHeader(1, at, null, null, unsupported);
            }

            return header.Length < 32
                ? null
                : new MultibootHeader(1, at, new MultibootAddresses(Word(header, 12), Word(header, 16), Word(header, 20), Word(header, 24)), Word(header, 28), unsupported);
        }

        return null;
    }

    private static MultibootHeader? Find2(ReadOnlySpan<byte> file)
    {
        for (int at = 0; at + 16 <= Math.Min(file.Length, Search2); at += 8)
        {
            ReadOnlySpan<byte> header = file[at..];
            uint length = Word(header, 8);
            if (Word(header, 0) == Magic2 && Magic2 + Word(header, 4) + length + Word(header, 12) == 0 && length >= 16 && length <= (uint)header.Length)
            {
                return ReadTags(at, Word(header, 4), header[16..(int)length]);
            }
        }

        return null;
    }

    private static MultibootHeader ReadTags(int offset, uint architecture, ReadOnlySpan<byte> tags)
    {
        MultibootAddresses? addresses = null;
        uint? entry = null;
        string? unsupported = architecture == 0 ? null : $"architecture {architecture}";
        while (tags.Length >= 8)
        {
            int type = BinaryPrimitives.ReadUInt16LittleEndian(tags);
            bool optional = (tags[2] & 1) != 0;
            uint size = Word(tags, 4);
            if (type == 0 || size < 8 || size > (uint)tags.Length)
            {
                break;
            }

            switch (type)
            {
                case 1:
                    // Information request: the boot information must contain each requested type, unless the tag is optional.
                    for (int i = 8; i + 4 <= size && !optional; i += 4)
                    {
                        uint wanted = Word(tags, i);
                        unsupported ??= MultibootBoot.Provides(wanted) ? null : $"boot information of type {wanted}";
                    }

                    break;
                case 2 when size >= 24:
                    addresses = new MultibootAddresses(Word(tags, 8), Word(tags, 12), Word(tags, 16), Word(tags, 20));
                    break;
                case 3 when size >= 12:
                    entry = Word(tags, 8);
                    break;
                case 4 or 6 or 7 or 8 or 9 or 10:
                    // An optional console, module alignment, EFI (not supported, optional), and a relocation range (not needed).
                    break;
                default:
                    unsupported ??= optional ? null : type == 5 ? "a framebuffer" : $"tag {type}";
                    break;
            }

            tags = tags[(int)Math.Min((size + 7) & ~7u, (uint)tags.Length)..];
        }

        return new MultibootHeader(2, offset, addresses, entry, unsupported);
    }

    private static uint Word(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);
}
