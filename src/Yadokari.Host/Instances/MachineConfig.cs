using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Extensions.Logging;
using Yadokari.Boards.Specs;
using Yadokari.Core.Configuration;

namespace Yadokari.Host.Instances;

/// <summary>What a named machine was made with; kept in its folder as <c>machine.json</c>.</summary>
public sealed record MachineConfig
{
    /// <summary>The recipe of its system; null where the user named what it boots.</summary>
    public string? Recipe { get; init; }

    /// <summary>When it was made.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>The folder that <c>yado run</c> was called in, which paths in its arguments may start from.</summary>
    public required string Directory { get; init; }

    /// <summary>What it is made of; null in files of an older yado, which has <see cref="Arguments"/>, <see cref="OldCpus"/> and <see cref="OldMemory"/>.</summary>
    [JsonConverter(typeof(MachineSpecConverter))]
    public MachineSpec? Spec { get; init; }

    /// <summary>How it is run.</summary>
    public RunSettings Settings { get; init; } = new();

    /// <summary>The arguments of <c>yado run</c>; null where there is a specification.</summary>
    public IReadOnlyList<string>? Arguments { get; init; }

    /// <summary>How many vCPUs; null where there is a specification.</summary>
    [JsonPropertyName("cpus")]
    public int? OldCpus { get; init; }

    /// <summary>Bytes of memory; null where there is a specification.</summary>
    [JsonPropertyName("memory")]
    public ulong? OldMemory { get; init; }

    /// <summary>How many vCPUs.</summary>
    [JsonIgnore]
    public int Cpus => Spec?.Cpus ?? OldCpus ?? 1;

    /// <summary>Bytes of memory.</summary>
    [JsonIgnore]
    public ulong Memory => Spec?.Memory ?? OldMemory ?? 0;

    /// <summary>Bytes of its own disk; 0 where it has none.</summary>
    public long DiskSize { get; init; }

    /// <summary>The password of the user at first; null where the system is not ours.</summary>
    public string? Password { get; init; }

    /// <summary>As text.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, MachineJson.Default.MachineConfig);

    /// <summary>From text.</summary>
    /// <exception cref="JsonException">It says something else.</exception>
    public static MachineConfig Parse(string text) =>
        JsonSerializer.Deserialize(text, MachineJson.Default.MachineConfig) is { } config && (config.Spec is not null || config.Arguments is not null) ? config : throw new JsonException();
}

/// <summary>How a machine is run, beside what it is made of.</summary>
/// <param name="Stats">As <see cref="RunOptions.Stats"/>.</param>
/// <param name="Trace">As <see cref="RunOptions.Trace"/>.</param>
/// <param name="Gdb">As <see cref="RunOptions.GdbPort"/>.</param>
/// <param name="LogLevel">As <see cref="RunOptions.LogLevel"/>.</param>
/// <param name="LogJson">As <see cref="RunOptions.LogJson"/>.</param>
public sealed record RunSettings(bool Stats = false, string? Trace = null, int? Gdb = null, LogLevel LogLevel = LogLevel.Warning, bool LogJson = false)
{
    /// <summary>Those of a run.</summary>
    public static RunSettings Of(RunOptions options) => new(options.Stats, options.Trace, options.GdbPort, options.LogLevel, options.LogJson);

    /// <summary>A run of a machine.</summary>
    public RunOptions On(MachineSpec spec) => new(spec) { Stats = Stats, Trace = Trace, GdbPort = Gdb, LogLevel = LogLevel, LogJson = LogJson };
}

/// <summary>Reads and writes a specification as it is written elsewhere.</summary>
internal sealed class MachineSpecConverter : JsonConverter<MachineSpec>
{
    public override MachineSpec Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        using var document = JsonDocument.ParseValue(ref reader);
        try
        {
            return MachineSpec.Read(document.RootElement);
        }
        catch (ConfigurationException error)
        {
            throw new JsonException(error.Message, error);
        }
    }

    public override void Write(Utf8JsonWriter writer, MachineSpec value, JsonSerializerOptions options) => value.Write(writer);
}

/// <summary>What is known of a machine that runs; in its folder as <c>run.json</c>. That it runs, only the lock tells.</summary>
/// <param name="Process">The monitor's process.</param>
/// <param name="Started">When it started.</param>
/// <param name="SshPort">The host's port that leads to the guest's sshd; null where there is none.</param>
/// <param name="Ports">Ports of the host that lead into the guest, as <c>--publish</c> has them.</param>
public sealed record MachineProcess(int Process, DateTimeOffset Started, int? SshPort, IReadOnlyList<string> Ports);

/// <summary>Reads and writes both without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault, UseStringEnumConverter = true)]
[JsonSerializable(typeof(MachineConfig))]
[JsonSerializable(typeof(MachineProcess))]
internal sealed partial class MachineJson : JsonSerializerContext;
