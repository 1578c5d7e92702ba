using System.CommandLine;
using System.Globalization;
using Yadokari.Cli.Progress;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Disks;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Linux;

namespace Yadokari.Cli;

/// <summary><c>yado disk</c>: makes, describes, converts and checks images.</summary>
internal static class DiskCommand
{
    private static readonly Argument<string> s_file = new("FILE") { Description = "The image" };
    private static readonly Argument<string> s_source = new("SOURCE") { Description = "The image to read" };
    private static readonly Argument<string> s_target = new("TARGET") { Description = "The image to make" };
    private static readonly Argument<string?> s_size = new("SIZE")
    {
        Description = "Size of the disk: bytes, or a whole number with K, M, G or T [default: the backing file's]",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private static readonly Option<string?> s_format = new("--format") { HelpName = "raw|qcow2", Description = "Format of the target [default: qcow2]" };
    private static readonly Option<string?> s_sourceFormat = new("--source-format") { HelpName = "raw|qcow2", Description = "Format of the source [default: detected from its name and header]" };
    private static readonly Option<string?> s_backing = new("--backing") { HelpName = "FILE", Description = "The backing file; a relative path starts at the image's folder" };
    private static readonly Option<string?> s_backingFormat = new("--backing-format") { HelpName = "raw|qcow2", Description = "Format of the backing file [default: detected from its name and header]" };
    private static readonly Option<string> s_clusterSize = new("--cluster-size") { HelpName = "SIZE", Description = "Size of a cluster, from 512 to 2M", DefaultValueFactory = _ => "64K" };
    private static readonly Option<bool> s_lazy = new("--lazy-refcounts") { Description = "Postpone updates of reference counts: faster, but they are rebuilt after a crash" };
    private static readonly Option<string?> s_compress = new("--compress") { HelpName = "zlib|zstd", Description = "Compress clusters" };
    private static readonly Option<bool> s_force = new("--force") { Description = "Replace a file of that name" };
    private static readonly Option<bool> s_json = new("--json") { Description = "Print JSON" };
    private static readonly Option<bool> s_repair = new("--repair") { Description = "Repair what the check finds" };

    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        var create = new Command("create", "Makes an empty image") { s_file, s_size, s_format, s_backing, s_backingFormat, s_clusterSize, s_lazy, s_force };
        create.SetAction(result =>
        {
            var wanted = new NewDisk
            {
                Format = ParseFormat("--format", result.GetValue(s_format)) ?? DiskFormat.Qcow2,
                Size = result.GetValue(s_size) is { } size ? ParseSize("SIZE", size)
                    : result.GetValue(s_backing) is not null ? null
                    : throw new UserErrorException("yado disk create needs a size: give one, as in 10G, or a --backing file to take it from."),
                Backing = result.GetValue(s_backing),
                BackingFormat = ParseFormat("--backing-format", result.GetValue(s_backingFormat)),
                ClusterSize = ParseClusterSize(result.GetValue(s_clusterSize)!),
                LazyRefcounts = result.GetValue(s_lazy),
                Replace = result.GetValue(s_force),
            };
            DiskFiles.Create(CheckName(result.GetValue(s_file)!), wanted);
            return ExitCodes.Success;
        });

        var info = new Command("info", "Describes an image and its backing files") { s_file, s_sourceFormat, s_json };
        info.SetAction(result =>
        {
            IReadOnlyList<DiskDescription> chain = DescribeChain(result.GetValue(s_file)!, ParseFormat("--source-format", result.GetValue(s_sourceFormat)));
            DiskReport.Write(chain, result.GetValue(s_json), StandardStreams.Output);
            return ExitCodes.Success;
        });

        var convert = new Command("convert", "Copies an image to a new one, leaving zeroes out") { s_source, s_target, s_sourceFormat, s_format, s_clusterSize, s_lazy, s_compress, s_force };
        convert.SetAction(result =>
        {
            var wanted = new NewDisk
            {
                Format = ParseFormat("--format", result.GetValue(s_format)) ?? DiskFormat.Qcow2,
                ClusterSize = ParseClusterSize(result.GetValue(s_clusterSize)!),
                LazyRefcounts = result.GetValue(s_lazy),
                Compression = ParseCompression(result.GetValue(s_compress)),
                Replace = result.GetValue(s_force),
            };
            if (wanted.Format == DiskFormat.Raw && wanted.Compression is not null)
            {
                throw new UserErrorException("--compress does not go with --format raw: leave one out.");
            }

            return Convert(result.GetValue(s_source)!, ParseFormat("--source-format", result.GetValue(s_sourceFormat)), CheckName(result.GetValue(s_target)!), wanted);
        });

        var check = new Command("check", $"""
            Compares the reference counts of a qcow2 image with what refers to its clusters.

            Exit codes: {ExitCodes.Success} all is well, or was repaired; {ExitCodes.DiskLeaks} clusters are lost, nothing else; {ExitCodes.DiskErrors} there are errors; {ExitCodes.BadInput} it can't be checked.
            """)
        {
            s_file, s_repair, s_json,
        };
        check.SetAction(result => Check(result.GetValue(s_file)!, result.GetValue(s_repair), result.GetValue(s_json)));
        return new Command("disk", "Makes, describes, converts and checks disk images") { create, info, convert, check };
    }

    /// <summary>Parses a size. Returns bytes.</summary>
    /// <exception cref="UserErrorException">The text is not a size.</exception>
    internal static long ParseSize(string what, string text) =>
        ByteSize.TryParse(text, out ulong size) && size <= long.MaxValue
            ? (long)size
            : throw new UserErrorException($"{what} {UserText.Shown(text)} is not a size: write bytes, or a whole number with K, M, G or T, as in 10G.");

    private static int ParseClusterSize(string text)
    {
        long size = ParseSize("--cluster-size", text);
        return size is >= 512 and <= 2 << 20 && long.IsPow2(size)
            ? (int)size
            : throw new UserErrorException($"--cluster-size {text} is not valid: give a power of two from 512 to 2M.");
    }

    private static DiskFormat? ParseFormat(string option, string? text) => text switch
    {
        null => null,
        "raw" => DiskFormat.Raw,
        "qcow2" => DiskFormat.Qcow2,
        _ => throw new UserErrorException($"{option} {UserText.Shown(text)} is not a format: give raw or qcow2."),
    };

    private static Qcow2Compression? ParseCompression(string? text) => text switch
    {
        null => null,
        "zlib" => Qcow2Compression.Zlib,
        "zstd" => Qcow2Compression.Zstd,
        _ => throw new UserErrorException($"--compress {UserText.Shown(text)} is not a compression method: give zlib or zstd."),
    };

    private static string CheckName(string path) => path.Length > 0 ? path : throw new UserErrorException("The path of the new image is empty: give the path of a file.");

    private static List<DiskDescription> DescribeChain(string path, DiskFormat? format)
    {
        var chain = new List<DiskDescription> { DiskFiles.Describe(path, format) };
        while (chain[^1].BackingPath is { } backing && File.Exists(backing) && chain.Count < DiskImage.MaxChain && chain.All(d => Path.GetFullPath(d.Path) != Path.GetFullPath(backing)))
        {
            chain.Add(DiskFiles.Describe(backing, chain[^1].BackingFormat));
        }

        return chain;
    }

    private static int Convert(string source, DiskFormat? format, string target, NewDisk wanted)
    {
        // A signal cancels the work, so that incomplete files are removed and the terminal's cursor is shown again.
        using var interrupted = new CancellationTokenSource();
        int signal = 0;
        using var guard = new SignalGuard(number =>
        {
            signal = number;
            interrupted.Cancel();
        });
        try
        {
            const int StandardError = 2;
            bool Work(IProgressReport? progress)
            {
                progress?.Step($"converting {Path.GetFileName(source)}");
                DiskFiles.Convert(source, format, target, wanted, done => progress?.Fraction(done), interrupted.Token);
                return true;
            }

            _ = Terminal.IsTerminal(StandardError) ? BarProgress.While(Work) : Work(null);
            return ExitCodes.Success;
        }
        catch (OperationCanceledException)
        {
            return ExitCodes.Signal(signal);
        }
    }

    private static int Check(string path, bool repair, bool json)
    {
        (DiskCheck before, DiskCheck? after) = DiskFiles.Check(path, repair);
        DiskReport.Write(path, before, after, json, StandardStreams.Output);
        DiskCheck now = after ?? before;
        return now.Errors > 0 ? ExitCodes.DiskErrors : now.Leaks > 0 ? ExitCodes.DiskLeaks : ExitCodes.Success;
    }
}
