using System.Text.Json;
using System.Text.Json.Serialization;

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

    /// <summary>The arguments of <c>yado run</c>.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>How many vCPUs.</summary>
    public required int Cpus { get; init; }

    /// <summary>Bytes of memory.</summary>
    public required ulong Memory { get; init; }

    /// <summary>Bytes of its own disk; 0 where it has none.</summary>
    public long DiskSize { get; init; }

    /// <summary>The password of the user at first; null where the system is not ours.</summary>
    public string? Password { get; init; }

    /// <summary>As text.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, MachineJson.Default.MachineConfig);

    /// <summary>From text.</summary>
    /// <exception cref="JsonException">It says something else.</exception>
    public static MachineConfig Parse(string text) => JsonSerializer.Deserialize(text, MachineJson.Default.MachineConfig) ?? throw new JsonException();
}

/// <summary>What is known of a machine that runs; in its folder as <c>run.json</c>. That it runs, only the lock tells.</summary>
/// <param name="Process">The monitor's process.</param>
/// <param name="Started">When it started.</param>
/// <param name="SshPort">The host's port that leads to the guest's sshd; null where there is none.</param>
/// <param name="Ports">Ports of the host that lead into the guest, as <c>--publish</c> has them.</param>
public sealed record MachineProcess(int Process, DateTimeOffset Started, int? SshPort, IReadOnlyList<string> Ports);

/// <summary>Reads and writes both without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(MachineConfig))]
[JsonSerializable(typeof(MachineProcess))]
internal sealed partial class MachineJson : JsonSerializerContext;
