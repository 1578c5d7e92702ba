using System.Text.Json;
using Microsoft.Extensions.Logging;
using Xunit;
using Yadokari.Boards.Specs;
using Yadokari.Host.Instances;

namespace Yadokari.Host.Tests;

public sealed class MachineConfigTests
{
    [Fact]
    public void What_is_written_is_read_again()
    {
        var config = new MachineConfig
        {
            Recipe = "debian",
            Created = DateTimeOffset.UnixEpoch,
            Directory = "/home/me",
            Spec = new MachineSpec { Memory = 1 << 30, Cpus = 2, Devices = [new CdromSpec("c")] },
            Settings = new RunSettings(Stats: true, Gdb: 1234, LogLevel: LogLevel.Debug),
            DiskSize = 8L << 30,
        };
        MachineConfig read = MachineConfig.Parse(config.ToJson());
        Assert.Equal(config.Spec.ToJson(), read.Spec!.ToJson());
        Assert.Equal(config with { Spec = null }, read with { Spec = null });
        Assert.Equal((2, 1ul << 30), (read.Cpus, read.Memory));
        RunOptions run = read.Settings!.On(read.Spec);
        Assert.Equal((true, 1234, LogLevel.Debug, 2), (run.Stats, run.GdbPort, run.LogLevel, run.Cpus));
    }

    [Theory]
    [InlineData(LogLevel.Trace)]
    [InlineData(LogLevel.Warning)]
    [InlineData(LogLevel.None)]
    public void The_log_level_is_kept(LogLevel level)
    {
        var config = new MachineConfig { Created = DateTimeOffset.UnixEpoch, Directory = "/", Spec = new MachineSpec(), Settings = new RunSettings(LogLevel: level) };
        Assert.Equal(level, MachineConfig.Parse(config.ToJson()).Settings!.LogLevel);
    }

    [Theory]
    [InlineData("")]
    [InlineData(""", "settings": null""")]
    public void Without_settings_the_defaults_count(string settings) =>
        Assert.Null(MachineConfig.Parse($$"""{ "created": "2026-01-01T00:00:00+00:00", "directory": "/", "spec": {}{{settings}} }""").Settings);

    [Fact]
    public void A_file_of_an_older_yado_has_the_arguments()
    {
        MachineConfig read = MachineConfig.Parse(
            """{ "recipe": "debian", "created": "2026-01-01T00:00:00+00:00", "directory": "/", "arguments": ["debian", "--cpus", "2"], "cpus": 2, "memory": 1073741824, "diskSize": 8589934592, "password": "x" }""");
        Assert.Null(read.Spec);
        Assert.Equal(["debian", "--cpus", "2"], read.Arguments!);
        Assert.Equal((2, 1ul << 30), (read.Cpus, read.Memory));
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("""{ "created": "2026-01-01T00:00:00+00:00", "directory": "/", "arguments": [null] }""")]
    [InlineData("""{ "created": "2026-01-01T00:00:00+00:00", "directory": "/" }""")]
    [InlineData("""{ "created": "2026-01-01T00:00:00+00:00", "directory": "/", "spec": { "cpus": 0 } }""")]
    [InlineData("""{ "created": "2026-01-01T00:00:00+00:00", "directory": "/", "spec": {}, "more": 1 }""")]
    public void A_damaged_file_is_told(string text) => Assert.Throws<JsonException>(() => MachineConfig.Parse(text));
}
