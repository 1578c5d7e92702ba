using System.Buffers.Binary;
using System.Text;

namespace Yadokari.Host.Recipes;

/// <summary>
/// Builds a CD image with a few files in its root: ECMA-119 (ISO 9660), second edition, with Joliet's supplementary descriptor, which
/// preserves the case and characters of names. Contains no dates, so that equal content gives equal bytes.
/// </summary>
internal static class IsoImage
{
    private const int Sector = 2048;
    private const int PrimarySector = 16;
    private const int JolietSector = 17;
    private const int EndSector = 18;
    private const int FirstTableSector = 19; // Path tables: primary L and M, Joliet L and M.
    private const int PrimaryRootSector = 23;
    private const int JolietRootSector = 24;
    private const int FirstFileSector = 25;
    private const int RootTableLength = 10;

    /// <summary>Builds an image.</summary>
    /// <param name="label">The volume's name: up to 16 capital letters, digits and underscores.</param>
    /// <param name="files">Names of up to 60 characters, and contents; the directory has one sector, for about twenty files.</param>
    public static byte[] Make(string label, IReadOnlyList<(string Name, byte[] Content)> files)
    {
        (string Name, int Start, int Length)[] places = new (string, int, int)[files.Count];
        int next = FirstFileSector;
        for (int i = 0; i < places.Length; i++)
        {
            places[i] = (files[i].Name, next, files[i].Content.Length);
            next += (files[i].Content.Length + Sector - 1) / Sector;
        }

        byte[] image = new byte[next * Sector];
        Descriptor(At(image, PrimarySector), 1, label, next, FirstTableSector, PrimaryRootSector, joliet: false);
        Descriptor(At(image, JolietSector), 2, label, next, FirstTableSector + 2, JolietRootSector, joliet: true);
        Span<byte> end = At(image, EndSector);
        end[0] = 255;
        "CD001"u8.CopyTo(end[1..]);
        end[6] = 1;

        foreach ((int table, int root) in (ReadOnlySpan<(int, int)>)[(FirstTableSector, PrimaryRootSector), (FirstTableSector + 2, JolietRootSector)])
        {
            PathTable(At(image, table), root, bigEndian: false);
            PathTable(At(image, table + 1), root, bigEndian: true);
        }

        Directory(At(image, PrimaryRootSector), PrimaryRootSector, [.. places.Select((p, i) => (Encoding.ASCII.GetBytes(ShortName(p.Name, i)), p.Start, p.Length))]);
        Directory(At(image, JolietRootSector), JolietRootSector, [.. places.Select(p => (Encoding.BigEndianUnicode.GetBytes(p.Name + ";1"), p.Start, p.Length))]);
        for (int i = 0; i < places.Length; i++)
        {
            files[i].Content.CopyTo(image.AsSpan(places[i].Start * Sector));
        }

        return image;
    }

    private static Span<byte> At(byte[] image, int sector) => image.AsSpan(sector * Sector, Sector);

    /// <summary>The name for readers without Joliet (7.5): at most eight characters.</summary>
    private static string ShortName(string name, int number)
    {
        string letters = string.Concat(name.ToUpperInvariant().Where(char.IsAsciiLetterOrDigit));
        return $"{letters[..Math.Min(6, letters.Length)]}{number:00}.;1";
    }

    // Volume descriptor (8.4, 8.5).
    private static void Descriptor(Span<byte> sector, byte type, string label, int sectors, int table, int root, bool joliet)
    {
        sector[0] = type;
        "CD001"u8.CopyTo(sector[1..]);
        sector[6] = 1;
        Text(sector.Slice(8, 32), "", joliet);
        Text(sector.Slice(40, 32), label, joliet);
        Both32(sector[80..], (uint)sectors);
        if (joliet)
        {
            "%/E"u8.CopyTo(sector[88..]); // UCS-2, level 3.
        }

        Both16(sector[120..], 1);
        Both16(sector[124..], 1);
        Both16(sector[128..], Sector);
        Both32(sector[132..], RootTableLength);
        BinaryPrimitives.WriteInt32LittleEndian(sector[140..], table);
        BinaryPrimitives.WriteInt32BigEndian(sector[148..], table + 1);
        Record(sector[156..], [0], root, Sector, isDirectory: true);
        Text(sector.Slice(190, 128), "", joliet);
        Text(sector.Slice(318, 128), "", joliet);
        Text(sector.Slice(446, 128), "", joliet);
        Text(sector.Slice(574, 128), "YADOKARI", joliet);
        Text(sector.Slice(702, 37), "", joliet);
        Text(sector.Slice(739, 37), "", joliet);
        Text(sector.Slice(776, 37), "", joliet);
        for (int i = 0; i < 4; i++)
        {
            sector.Slice(813 + (17 * i), 16).Fill((byte)'0'); // Date not given (8.4.26.1).
        }

        sector[881] = 1;
    }

    private static void Text(Span<byte> field, string text, bool joliet)
    {
        if (joliet)
        {
            for (int i = 0; i + 1 < field.Length; i += 2)
            {
                BinaryPrimitives.WriteUInt16BigEndian(field[i..], ' ');
            }

            Encoding.BigEndianUnicode.GetBytes(text, field);
        }
        else
        {
            field.Fill((byte)' ');
            Encoding.ASCII.GetBytes(text, field);
        }
    }

    // Path table (9.4): the root alone.
    private static void PathTable(Span<byte> sector, int root, bool bigEndian)
    {
        sector[0] = 1;
        if (bigEndian)
        {
            BinaryPrimitives.WriteInt32BigEndian(sector[2..], root);
            BinaryPrimitives.WriteInt16BigEndian(sector[6..], 1);
        }
        else
        {
            BinaryPrimitives.WriteInt32LittleEndian(sector[2..], root);
            BinaryPrimitives.WriteInt16LittleEndian(sector[6..], 1);
        }
    }

    private static void Directory(Span<byte> sector, int own, (byte[] Name, int Start, int Length)[] files)
    {
        int at = Record(sector, [0], own, Sector, isDirectory: true);
        at += Record(sector[at..], [1], own, Sector, isDirectory: true);
        foreach ((byte[] name, int start, int length) in files.OrderBy(f => f.Name, Comparer<byte[]>.Create((a, b) => a.AsSpan().SequenceCompareTo(b))))
        {
            at += Record(sector[at..], name, start, length, isDirectory: false);
        }
    }

    // Directory record (9.1). Returns its length.
    private static int Record(Span<byte> record, ReadOnlySpan<byte> name, int start, int length, bool isDirectory)
    {
        int size = (33 + name.Length + 1) & ~1;
        record[0] = (byte)size;
        Both32(record[2..], (uint)start);
        Both32(record[10..], (uint)length);
        record[25] = (byte)(isDirectory ? 2 : 0);
        Both16(record[28..], 1);
        record[32] = (byte)name.Length;
        name.CopyTo(record[33..]);
        return size;
    }

    private static void Both16(Span<byte> field, ushort value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(field, value);
        BinaryPrimitives.WriteUInt16BigEndian(field[2..], value);
    }

    private static void Both32(Span<byte> field, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(field, value);
        BinaryPrimitives.WriteUInt32BigEndian(field[4..], value);
    }
}
