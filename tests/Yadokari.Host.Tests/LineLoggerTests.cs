using System.Text.Json;
using Microsoft.Extensions.Logging;
using Xunit;
using Yadokari.Host.Logs;

namespace Yadokari.Host.Tests;

public sealed class LineLoggerTests
{
    private readonly StringWriter _output = new();

    [Theory]
    [InlineData(LogLevel.Debug, 3)]
    [InlineData(LogLevel.Information, 2)]
    [InlineData(LogLevel.Error, 1)]
    [InlineData(LogLevel.None, 0)]
    public void Level_decides_what_is_written(LogLevel least, int lines)
    {
        LineLogger log = Make(least, json: false);
        log.RequestAnswered("GET", "/machine", 200);
        log.MachineStarted();
        log.MachineFailed("the guest's kernel panicked");
        Assert.Equal(lines, _output.ToString().Count(c => c == '\n'));
    }

    [Fact]
    public void Entry_for_people_has_one_line_without_control_characters()
    {
        Make(LogLevel.Trace, json: false).RequestFailed(new InvalidOperationException("a\r\nb\e[2J"));
        Assert.Equal("yado: 1970-01-01T00:00:00.000Z error: a request failed by an internal error: System.InvalidOperationException: a b?[2J\r\n", _output.ToString());
    }

    [Fact]
    public void Entry_in_json_has_its_values()
    {
        LineLogger log = Make(LogLevel.Trace, json: true);
        log.MachineEnded(3);
        log.RequestFailed(new InvalidOperationException("a\nb"));
        string[] lines = _output.ToString().Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(
            """{"time":"1970-01-01T00:00:00+00:00","level":"info","event":"MachineEnded","message":"the machine has ended with exit code 3","exitCode":3}""", lines[0]);
        using var failed = JsonDocument.Parse(lines[1]);
        Assert.Contains("a\nb", failed.RootElement.GetProperty("exception").GetString(), StringComparison.Ordinal);
    }

    private LineLogger Make(LogLevel least, bool json) => new(least, json, _output, () => "\r\n", new Epoch());

    private sealed class Epoch : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch;
    }
}
