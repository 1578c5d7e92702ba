using System.Buffers.Binary;
using System.Text;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// Builds the commands of the file etc/table-loader, with which firmware loads tables from files of the configuration device (QEMU,
/// hw/acpi/bios-linker-loader.c). A command has 128 bytes.
/// </summary>
internal sealed class TableLoader
{
    /// <summary>The file's name.</summary>
    public const string Name = "etc/table-loader";

    private const uint Allocate = 1;
    private const uint AddPointer = 2;
    private const uint AddChecksum = 3;
    private const byte BiosSegment = 2;
    private const int CommandSize = 128;
    private const int NameSize = 56;

    private readonly List<byte[]> _commands = [];

    /// <summary>The commands so far.</summary>
    public byte[] Commands => [.. _commands.SelectMany(c => c)];

    /// <summary>Copies a file to the segment at F0000, at a multiple of 16.</summary>
    public void Place(string file)
    {
        Span<byte> arguments = Add(Allocate, file);
        BinaryPrimitives.WriteUInt32LittleEndian(arguments[NameSize..], 16);
        arguments[NameSize + 4] = BiosSegment;
    }

    /// <summary>Adds the file's physical address to the 32 bits at an offset in a placed file, which contain an offset in that file.</summary>
    public void Relocate(string file, int offset)
    {
        Span<byte> arguments = Add(AddPointer, file);
        Encoding.ASCII.GetBytes(file, arguments[NameSize..]);
        BinaryPrimitives.WriteInt32LittleEndian(arguments[(2 * NameSize)..], offset);
        arguments[(2 * NameSize) + 4] = sizeof(uint);
    }

    /// <summary>Sets the checksum byte at an offset, so that the first bytes of a placed file add up to zero.</summary>
    public void Sum(string file, int offset, int length)
    {
        Span<byte> arguments = Add(AddChecksum, file);
        BinaryPrimitives.WriteInt32LittleEndian(arguments[NameSize..], offset);
        BinaryPrimitives.WriteInt32LittleEndian(arguments[(NameSize + 8)..], length);
    }

    // Returns the command's arguments, of which the first is always a name.
    private Span<byte> Add(uint number, string file)
    {
        byte[] command = new byte[CommandSize];
        BinaryPrimitives.WriteUInt32LittleEndian(command, number);
        Encoding.ASCII.GetBytes(file, command.AsSpan(sizeof(uint)));
        _commands.Add(command);
        return command.AsSpan(sizeof(uint));
    }
}
