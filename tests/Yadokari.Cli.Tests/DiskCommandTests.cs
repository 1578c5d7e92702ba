using System.Diagnostics;
using System.Text.Json;
using Xunit;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Host.Tests;

namespace Yadokari.Cli.Tests;

public sealed class DiskCommandTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yadokari-diskcommand-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("512", 512)]
    [InlineData("64K", 64 << 10)]
    [InlineData("10g", 10L << 30)]
    [InlineData("2T", 2L << 40)]
    public void Sizes(string text, long bytes) => Assert.Equal(bytes, DiskCommand.ParseSize("SIZE", text));

    [Theory]
    [InlineData("")]
    [InlineData("G")]
    [InlineData("-1")]
    [InlineData("1.5G")]
    [InlineData("9999999999T")]
    public void Sizes_that_are_none(string text) => Sentence.Check(Assert.Throws<UserErrorException>(() => DiskCommand.ParseSize("SIZE", text)).Message);

    [Fact]
    public void Images_are_made_described_converted_and_checked()
    {
        (string disk, string top, string copy) = (Name("disk.qcow2"), Name("top.qcow2"), Name("copy.raw"));
        Assert.Equal(0, CommandLine.Run(["disk", "create", disk, "8M", "--cluster-size", "4K"]));
        Assert.Equal(0, CommandLine.Run(["disk", "create", top, "--backing", "disk.qcow2", "--lazy-refcounts"]));
        Assert.Equal(0, CommandLine.Run(["disk", "convert", top, copy, "--format", "raw"]));
        Assert.Equal(0, CommandLine.Run(["disk", "convert", top, Name("packed.qcow2"), "--compress", "zstd"]));
        Assert.Equal(0, CommandLine.Run(["disk", "check", disk]));
        Assert.Equal(8 << 20, new FileInfo(copy).Length);
        using Process describing = Process.Start(
            new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "yado"), ["disk", "info", top, "--json"]) { RedirectStandardOutput = true })!;
        string output = describing.StandardOutput.ReadToEnd();
        describing.WaitForExit();
        Assert.Equal(0, describing.ExitCode);
        JsonElement info = JsonDocument.Parse(output).RootElement;
        Assert.Equal("disk.qcow2", info.GetProperty("backing").GetString());
        Assert.True(info.GetProperty("lazyRefcounts").GetBoolean());
        Assert.Equal(4096, info.GetProperty("chain")[0].GetProperty("clusterSize").GetInt32());
    }

    [Fact]
    public void What_can_not_be_is_refused_and_leaves_nothing()
    {
        string disk = Name("disk.qcow2");
        foreach (string[] arguments in (string[][])
        [
            ["disk", "create", disk],
            ["disk", "create", disk, "1000"],
            ["disk", "create", disk, "1M", "--cluster-size", "3K"],
            ["disk", "create", disk, "1M", "--format", "vmdk"],
            ["disk", "create", disk, "1M", "--backing", "missing"],
            ["disk", "create", Name("no/folder"), "1M"],
            ["disk", "convert", Name("missing"), disk],
            ["disk", "info", Name("missing")],
            ["disk", "check", Name("missing")],
            ["disk", "frobnicate"],
        ])
        {
            Assert.Equal(ExitCodes.BadInput, CommandLine.Run(arguments));
        }

        Assert.Empty(Directory.GetFiles(_folder));
    }

    private string Name(string name) => Path.Combine(_folder, name);
}
