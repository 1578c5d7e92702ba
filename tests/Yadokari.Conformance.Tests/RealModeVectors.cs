using System.IO.Compression;
using System.Text.Json;

namespace Yadokari.Conformance.Tests;

/// <summary>One instruction recorded on a processor in real mode: what there was, and what had changed at the HLT after it.</summary>
/// <param name="Form">Opcode, and the digit of ModRM where it belongs to it: "F7.4".</param>
/// <param name="Name">Disassembly.</param>
/// <param name="FlagsMask">Flags that the instruction defines.</param>
/// <param name="Bytes">The instruction and HLT.</param>
/// <param name="Initial">Before.</param>
/// <param name="Final">What is different afterwards.</param>
/// <param name="Exception">The interrupt or exception that it took, if any.</param>
public sealed record RealModeVector(
    string Form, string Name, ushort FlagsMask, string Bytes, RealModeState Initial, RealModeState Final, RealModeException? Exception)
{
    private static readonly JsonSerializerOptions s_format = new(JsonSerializerDefaults.Web);

    /// <summary>The file, or null where it is not: it stands beside the repository, or where YADOKARI_VECTORS says.</summary>
    public static string? File { get; } = Find("80286-real-mode.jsonl.gz");

    /// <summary>All of them, in the file's order.</summary>
    public static IEnumerable<RealModeVector> Read(string path)
    {
        using var lines = new StreamReader(new GZipStream(System.IO.File.OpenRead(path), CompressionMode.Decompress));
        while (lines.ReadLine() is { } line)
        {
            yield return JsonSerializer.Deserialize<RealModeVector>(line, s_format)!;
        }
    }

    private static string? Find(string name)
    {
        string? folder = Environment.GetEnvironmentVariable("YADOKARI_VECTORS");
        if (folder != null)
        {
            return Path.Combine(folder, name);
        }

        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at != null; at = at.Parent)
        {
            string path = Path.Combine(at.FullName, "shared", "vectors", name);
            if (System.IO.File.Exists(path))
            {
                return path;
            }
        }

        return null;
    }
}

/// <summary>Registers by their names in small letters, and bytes by physical address.</summary>
public sealed record RealModeState(IReadOnlyDictionary<string, ushort> Regs, int[][] Ram);

/// <summary>An interrupt or exception, and where it pushed the flags.</summary>
public sealed record RealModeException(int Number, int FlagsAddress);
