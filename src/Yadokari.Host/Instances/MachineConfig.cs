using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Extensions.Logging;
using Yadokari.Boards.Specs;
using Yadokari.Core.Configuration;

namespace Yadokari.Host.Instances;

/// <summary>The configuration that a named machine was made with; stored in its folder as <c>machine.json</c>.</summary>
public sealed record MachineConfig
{
    /// <summary>The recipe of its system; null if the user gave the files to boot.</summary>
    public string? Recipe { get; init; }

    /// <summary>When the machine was made.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>The current directory of <c>yado run</c>, for relative paths in its arguments.</summary>
    public required string Directory { get; init; }

    /// <summary>The machine's specification; null in files of older versions, which have <see cref="Arguments"/>, <see cref="OldCpus"/> and <see cref="OldMemory"/>.</summary>
    [JsonConverter(typeof(MachineSpecConverter))]
    public MachineSpec? Spec { get; init; }

    /// <summary>How to run the machine; null for the defaults.</summary>
    public RunSettings? Settings { get; init; }

    /// <summary>The arguments of <c>yado run</c>; null if there is a specification.</summary>
    public IReadOnlyList<string>? Arguments { get; init; }

    /// <summary>Count of vCPUs; null if there is a specification.</summary>
    [JsonPropertyName("cpus")]
    public int? OldCpus { get; init; }

    /// <summary>Memory size in bytes; null if there is a specification.</summary>
    [JsonPropertyName("memory")]
    public ulong? OldMemory { get; init; }

    /// <summary>Count of vCPUs.</summary>
    [JsonIgnore]
    public int Cpus => Spec?.Cpus ?? OldCpus ?? 1;

    /// <summary>Memory size in bytes.</summary>
    [JsonIgnore]
    public ulong Memory => Spec?.Memory ?? OldMemory ?? 0;

    /// <summary>Size in bytes of the machine's own disk; 0 without one.</summary>
    public long DiskSize { get; init; }

    /// <summary>The user's initial password; null if the system was not installed from a recipe.</summary>
    public string? Password { get; init; }

    /// <summary>The content of <c>machine.json</c>.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, MachineJson.Default.MachineConfig);

    /// <summary>Parses the content of <c>machine.json</c>.</summary>
    /// <exception cref="JsonException">The text is not a valid configuration.</exception>
    public static MachineConfig Parse(string text) =>
        JsonSerializer.Deserialize(text, MachineJson.Default.MachineConfig) is { } config && (config.Spec is not null || config.Arguments?.Contains(null!) == false) ? config : throw new JsonException();
}

/// <summary>Options for running a machine that are not part of its specification.</summary>
/// <param name="Stats">As <see cref="RunOptions.Stats"/>.</param>
/// <param name="Trace">As <see cref="RunOptions.Trace"/>.</param>
/// <param name="Gdb">As <see cref="RunOptions.GdbPort"/>.</param>
/// <param name="LogLevel">As <see cref="RunOptions.LogLevel"/>.</param>
/// <param name="LogJson">As <see cref="RunOptions.LogJson"/>.</param>
public sealed record RunSettings(bool Stats = false, string? Trace = null, int? Gdb = null, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] LogLevel LogLevel = LogLevel.Warning, bool LogJson = false)
{
    /// <summary>Extracts the settings from the options of a run.</summary>
    public static RunSettings Of(RunOptions options) => new(options.Stats, options.Trace, options.GdbPort, options.LogLevel, options.LogJson);

    /// <summary>The options for running a machine with these settings.</summary>
    public RunOptions On(MachineSpec spec) => new(spec) { Stats = Stats, Trace = Trace, GdbPort = Gdb, LogLevel = LogLevel, LogJson = LogJson };
}

/// <summary>Serializes a specification in the format of <c>yado run --spec</c>.</summary>
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

/// <summary>A running machine's process; stored in its folder as <c>run.json</c>. The file may be stale: only the lock shows that the machine runs.</summary>
/// <param name="Process">Process id of the monitor.</param>
/// <param name="Started">When the machine started.</param>
/// <param name="SshPort">The host port forwarded to the guest's sshd; null if there is none.</param>
/// <param name="Ports">The published ports, in the format of <c>--publish</c>.</param>
public sealed record MachineProcess(int Process, DateTimeOffset Started, int? SshPort, IReadOnlyList<string> Ports);

/// <summary>Serializes both types without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault, UseStringEnumConverter = true)]
[JsonSerializable(typeof(MachineConfig))]
[JsonSerializable(typeof(MachineProcess))]
internal sealed partial class MachineJson : JsonSerializerContext;
