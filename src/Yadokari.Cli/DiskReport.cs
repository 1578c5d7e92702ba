using System.Globalization;
using System.Text;
using System.Text.Json;
using Yadokari.Disks;

namespace Yadokari.Cli;

/// <summary>Writes the results of <c>yado disk</c> as text or as JSON.</summary>
internal static class DiskReport
{
    /// <summary>Describes an image, followed by its backing files.</summary>
    public static void Write(IReadOnlyList<DiskDescription> chain, bool json, TextWriter output)
    {
        if (json)
        {
            WriteJson(output, writer =>
            {
                WriteDescription(writer, chain[0]);
                writer.WriteStartArray("chain");
                foreach (DiskDescription disk in chain.Skip(1))
                {
                    writer.WriteStartObject();
                    WriteDescription(writer, disk);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
            return;
        }

        foreach (DiskDescription disk in chain)
        {
            Line("image", disk.Path);
            Line("format", disk.Format == DiskFormat.Raw ? "raw" : $"qcow2, version {disk.Version}");
            Line("disk size", Size(disk.Size));
            Line("size on host", Size(disk.Allocated));
            if (disk.Format == DiskFormat.Qcow2)
            {
                Line("cluster size", Size(disk.ClusterSize));
                Line("reference counts", $"{disk.RefcountBits} bits{(disk.LazyRefcounts ? ", updates may be postponed" : "")}");
                Line("compression", Name(disk.Compression));
                Line("state", disk.IsCorrupt ? "corrupt" : disk.IsDirty ? "not closed cleanly; repaired when opened for writing" : "closed");
            }

            foreach (DiskSnapshot snapshot in disk.Snapshots)
            {
                Line("snapshot", string.Create(CultureInfo.InvariantCulture, $"{snapshot.Id} '{snapshot.Name}' of {snapshot.Taken:yyyy-MM-dd HH:mm:ss}"));
            }

            if (disk.Backing is not null)
            {
                Line("builds on", disk.Backing + (File.Exists(disk.BackingPath) ? "" : " (missing)"));
                output.WriteLine();
            }
        }

        void Line(string name, string value) => output.WriteLine($"{name + ":",-18}{value}");
    }

    /// <summary>Reports what a check found, and what is left after repairs.</summary>
    public static void Write(string path, DiskCheck before, DiskCheck? after, bool json, TextWriter output)
    {
        if (json)
        {
            WriteJson(output, writer =>
            {
                writer.WriteString("file", path);
                WriteCheck(writer, after ?? before);
                if (after is not null)
                {
                    writer.WriteStartObject("before");
                    WriteCheck(writer, before);
                    writer.WriteEndObject();
                }
            });
            return;
        }

        foreach (string message in before.Messages)
        {
            output.WriteLine(message);
        }

        if (after is not null)
        {
            output.WriteLine($"Found {Count(before)}; repaired.");
        }

        DiskCheck now = after ?? before;
        output.WriteLine(now.Errors + now.Leaks == 0 ? "No errors." : $"There are {Count(now)}.");
        output.WriteLine($"{now.Allocated} clusters allocated, {now.Compressed} of them compressed; the file is used up to byte {now.End}.");
    }

    private static string Count(DiskCheck check) => $"{check.Errors} errors and {check.Leaks} lost clusters";

    private static string Size(long bytes) => bytes switch
    {
        < 1 << 10 => $"{bytes} bytes",
        _ => string.Create(CultureInfo.InvariantCulture, $"{Scaled(bytes)} ({bytes} bytes)"),
    };

    private static string Scaled(double bytes)
    {
        int unit = 0;
        for (; bytes >= 1024 && unit < 5; unit++)
        {
            bytes /= 1024;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{bytes:0.##} {"BKMGTP"[unit]}iB");
    }

    private static string Name(Qcow2Compression compression) => compression == Qcow2Compression.Zstd ? "zstd" : "zlib";

    private static void WriteDescription(Utf8JsonWriter json, DiskDescription disk)
    {
        json.WriteString("file", disk.Path);
        json.WriteString("format", disk.Format == DiskFormat.Raw ? "raw" : "qcow2");
        json.WriteNumber("size", disk.Size);
        json.WriteNumber("allocated", disk.Allocated);
        if (disk.Format == DiskFormat.Raw)
        {
            return;
        }

        json.WriteNumber("version", disk.Version);
        json.WriteNumber("clusterSize", disk.ClusterSize);
        json.WriteNumber("refcountBits", disk.RefcountBits);
        json.WriteString("compression", Name(disk.Compression));
        json.WriteBoolean("lazyRefcounts", disk.LazyRefcounts);
        json.WriteBoolean("dirty", disk.IsDirty);
        json.WriteBoolean("corrupt", disk.IsCorrupt);
        if (disk.Backing is not null)
        {
            json.WriteString("backing", disk.Backing);
        }

        json.WriteStartArray("snapshots");
        foreach (DiskSnapshot snapshot in disk.Snapshots)
        {
            json.WriteStartObject();
            json.WriteString("id", snapshot.Id);
            json.WriteString("name", snapshot.Name);
            json.WriteString("taken", snapshot.Taken);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteCheck(Utf8JsonWriter json, DiskCheck check)
    {
        json.WriteNumber("errors", check.Errors);
        json.WriteNumber("leaks", check.Leaks);
        json.WriteNumber("allocated", check.Allocated);
        json.WriteNumber("compressed", check.Compressed);
        json.WriteNumber("end", check.End);
        json.WriteStartArray("messages");
        foreach (string message in check.Messages)
        {
            json.WriteStringValue(message);
        }

        json.WriteEndArray();
    }

    private static void WriteJson(TextWriter output, Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        output.WriteLine(Encoding.UTF8.GetString(buffer.ToArray()));
    }
}
