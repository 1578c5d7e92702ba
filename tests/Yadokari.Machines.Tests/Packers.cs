using System.Diagnostics;
using System.IO.Compression;
using SharpCompress.Compressors.BZip2;
using SharpCompress.Compressors.LZMA;

namespace Yadokari.Machines.Tests;

/// <summary>Packs as Linux's build does.</summary>
internal static class Packers
{
    public static byte[] Pack(string format, byte[] data)
    {
        if (format == "lz4")
        {
            return Lz4Writer.Pack(data);
        }

        if (format == "xz")
        {
            Assert.SkipUnless(File.Exists("/usr/bin/xz"), "no xz on this host to pack with");
            return Xz(data);
        }

        using var packed = new MemoryStream();
        if (format == "lzma")
        {
            using (LzmaStream lzma = LzmaStream.Create(LzmaEncoderProperties.Default, false, packed))
            {
                byte[] properties = lzma.Properties;
                lzma.Write(data);
                lzma.Dispose();
                return [.. properties, .. BitConverter.GetBytes((long)data.Length), .. packed.ToArray()];
            }
        }

        Stream stream = format switch
        {
            "gzip" => new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true),
            "zstd" => new ZstdSharp.CompressionStream(packed, leaveOpen: true),
            _ => BZip2Stream.Create(packed, SharpCompress.Compressors.CompressionMode.Compress, false, leaveOpen: true),
        };
        using (stream)
        {
            stream.Write(data);
            (stream as BZip2Stream)?.Finish();
        }

        return packed.ToArray();
    }

    private static byte[] Xz(byte[] data)
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(file, data);
            using var process = Process.Start(new ProcessStartInfo("/usr/bin/xz", ["--check=crc32", "--x86", "--lzma2=preset=1", "-c", file]) { RedirectStandardOutput = true })!;
            using var packed = new MemoryStream();
            process.StandardOutput.BaseStream.CopyTo(packed);
            process.WaitForExit();
            Assert.Equal(0, process.ExitCode);
            return packed.ToArray();
        }
        finally
        {
            File.Delete(file);
        }
    }
}
