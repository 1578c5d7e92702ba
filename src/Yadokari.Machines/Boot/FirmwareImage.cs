using Yadokari.Core;
using Yadokari.Core.Memory;

namespace Yadokari.Machines.Boot;

/// <summary>A firmware ROM: it ends at 4 GiB, where the processor starts, and its last part shows below 1 MiB too.</summary>
public sealed class FirmwareImage
{
    private const int Unit = 64 << 10;
    private const int Largest = 8 << 20;

    // What a PC shows of the ROM below 1 MiB.
    private const int LowPart = 128 << 10;

    private readonly byte[] _bytes;

    private FirmwareImage(string name, byte[] bytes)
    {
        Name = name;
        _bytes = bytes;
    }

    /// <summary>The path it was read from.</summary>
    public string Name { get; }

    /// <summary>Bytes.</summary>
    public int Length => _bytes.Length;

    /// <summary>First physical address of the ROM.</summary>
    public ulong Start => Layout.HighRam - (ulong)_bytes.Length;

    /// <summary>Reads one.</summary>
    /// <exception cref="UserErrorException">It is missing, unreadable or of a size that no ROM has.</exception>
    public static FirmwareImage Open(string path)
    {
        try
        {
            if (Directory.Exists(path))
            {
                throw new UserErrorException($"The firmware '{path}' is a directory; name a file.");
            }

            long length = new FileInfo(path).Length;
            return length is >= Unit and <= Largest && length % Unit == 0
                ? new FirmwareImage(path, File.ReadAllBytes(path))
                : throw new UserErrorException(
                    $"The firmware '{path}' has {length} bytes; a ROM has a multiple of {Unit >> 10} KiB up to {Largest >> 20} MiB: give a file such as SeaBIOS's bios.bin.");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UserErrorException($"The firmware '{path}' does not exist; check the path given to --firmware.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"The firmware '{path}' can't be read ({e.Message.TrimEnd('.')}); check the file and its permissions.");
        }
    }

    /// <summary>Puts it where the processor and real-mode code find it.</summary>
    internal void CopyTo(GuestMemory memory)
    {
        memory.Write(Start, _bytes);
        ReadOnlySpan<byte> low = _bytes.AsSpan(Math.Max(0, _bytes.Length - LowPart));
        memory.Write(Layout.ExtendedMemory - (ulong)low.Length, low);
    }
}
