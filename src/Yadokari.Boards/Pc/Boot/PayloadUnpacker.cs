using System.Buffers.Binary;
using System.IO.Compression;
using K4os.Compression.LZ4;
using SharpCompress.Compressors.BZip2;
using SharpCompress.Compressors.LZMA;
using SharpCompress.Compressors.Xz;
using Yadokari.Core.Memory;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>Unpacks the compressed kernel inside a bzImage, in each of the formats that Linux's build offers (usr and lib/decompress).</summary>
public static class PayloadUnpacker
{
    private const int Lz4BlockSize = 8 << 20;

    /// <summary>Detects the format by its magic number; null if it is unknown.</summary>
    public static string? Recognise(ReadOnlySpan<byte> bytes) => bytes switch
    {
        [0x1F, 0x8B or 0x9E, ..] => "gzip",
        [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => "xz",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd",
        [0x02, 0x21, 0x4C, 0x18, ..] => "lz4",
        [(byte)'B', (byte)'Z', (byte)'h', ..] => "bzip2",
        [0x5D, 0, 0, ..] => "lzma",
        _ => null,
    };

    /// <summary>The unpacked length, which Linux's build appends to every format (it is part of gzip).</summary>
    /// <param name="payload">payload_offset and payload_length of the setup header.</param>
    public static uint UnpackedLength(ReadOnlySpan<byte> payload) => payload.Length < 8 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(payload[^4..]);

    /// <summary>Unpacks into guest memory.</summary>
    /// <param name="payload">The compressed kernel with the length in its last four bytes.</param>
    /// <param name="memory">Guest RAM.</param>
    /// <param name="gpa">Address of the first byte; <paramref name="length"/> bytes from there must be RAM of one region.</param>
    /// <param name="length">The result of <see cref="UnpackedLength"/>.</param>
    /// <returns>False if the format is unknown or the data damaged; the content of guest memory is then undefined.</returns>
    public static bool Unpack(ArraySegment<byte> payload, GuestMemory memory, ulong gpa, int length)
    {
        string? format = Recognise(payload);
        if (format == "lz4")
        {
            return UnpackLz4(payload, memory, gpa, length);
        }

        if (format is null || !memory.TrySlice(gpa, length, out Span<byte> target))
        {
            return false;
        }

        try
        {
            // gzip's own trailer is the appended length; all others end before it.
            int packed = format == "gzip" ? payload.Count : payload.Count - 4;
            if (format == "xz" && XzKernel.Decode(payload.AsSpan(0, packed), target) is { } sound)
            {
                return sound;
            }

            using var source = new MemoryStream(payload.Array!, payload.Offset, packed, writable: false);
            using Stream stream = Open(format, source, length);
            return stream.ReadAtLeast(target, length, throwOnEndOfStream: false) == length;
        }
        catch (Exception)
        {
            // Each library throws its own exceptions for damaged data.
            return false;
        }
        finally
        {
            memory.Written(gpa, (ulong)length);
        }
    }

    /// <summary>Unpacks a compressed file, such as a Linux module. Returns a file in an unknown format unchanged.</summary>
    /// <param name="file">The file's bytes.</param>
    /// <param name="limit">The largest unpacked length in bytes.</param>
    /// <exception cref="InvalidDataException">The file is damaged, larger unpacked, or in a format that is only supported for kernels (lz4 and lzma).</exception>
    public static byte[] UnpackFile(byte[] file, int limit)
    {
        string? format = Recognise(file);
        if (format is null)
        {
            return file;
        }

        if (format is "lz4" or "lzma")
        {
            throw new InvalidDataException();
        }

        try
        {
            using var source = new MemoryStream(file, writable: false);
            using Stream stream = Open(format, source, limit);
            var unpacked = new MemoryStream();
            byte[] piece = new byte[1 << 16];
            int count;
            while ((count = stream.Read(piece)) > 0)
            {
                unpacked.Write(piece, 0, count);
                if (unpacked.Length > limit)
                {
                    throw new InvalidDataException();
                }
            }

            // The library does not check the length in gzip's trailer (RFC 1952, 2.3.1).
            return format != "gzip" || UnpackedLength(file) == unpacked.Length ? unpacked.ToArray() : throw new InvalidDataException();
        }
        catch (Exception error) when (error is not InvalidDataException)
        {
            // Each library throws its own exceptions for damaged data.
            throw new InvalidDataException(null, error);
        }
    }

    private static Stream Open(string format, MemoryStream source, int length)
    {
        switch (format)
        {
            case "gzip":
                return new GZipStream(source, CompressionMode.Decompress);
            case "xz":
                return new XZStream(source);
            case "zstd":
                return new ZstdSharp.DecompressionStream(source);
            case "bzip2":
                return BZip2Stream.Create(source, SharpCompress.Compressors.CompressionMode.Decompress, false);
            default:
                // .lzma: five bytes of properties, eight of length (which Linux's build may leave unknown), then the data.
                byte[] properties = new byte[5];
                source.ReadExactly(properties);
                source.Position += 8;
                return LzmaStream.Create(properties, source, source.Length - source.Position, length);
        }
    }

    // The legacy frame: the magic, then blocks of a 32-bit length each, which unpack independently to 8 MiB each but the last.
    private static bool UnpackLz4(ArraySegment<byte> payload, GuestMemory memory, ulong gpa, int length)
    {
        List<ArraySegment<byte>> blocks = [];
        int position = 4;
        int end = payload.Count - 4;
        while (position < end)
        {
            uint size = end - position < 4 ? uint.MaxValue : BinaryPrimitives.ReadUInt32LittleEndian(payload.AsSpan(position));
            position += 4;
            if (size > end - position)
            {
                return false;
            }

            blocks.Add(payload.Slice(position, (int)size));
            position += (int)size;
        }

        if (blocks.Count != (length + (Lz4BlockSize - 1L)) / Lz4BlockSize)
        {
            return false;
        }

        bool good = true;
        Parallel.For(0, blocks.Count, i =>
        {
            ulong offset = (ulong)i * Lz4BlockSize;
            int size = Math.Min(Lz4BlockSize, length - (int)offset);
            if (!memory.TrySlice(gpa + offset, size, out Span<byte> target) || LZ4Codec.Decode(blocks[i], target) != size)
            {
                Volatile.Write(ref good, false);
            }
        });
        memory.Written(gpa, (ulong)length);
        return Volatile.Read(ref good);
    }
}
