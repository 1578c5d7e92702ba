using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Yadokari.Host.Control;

/// <summary>A machine, as <c>GET /machine</c> shows it: in the same object, each <see cref="IControlResource"/> is a member.</summary>
/// <param name="Name">Its name.</param>
/// <param name="State"><c>running</c>, <c>paused</c>, or <c>ending</c>.</param>
/// <param name="Vcpus">Count of vCPUs.</param>
/// <param name="Memory">Memory size in bytes.</param>
/// <param name="Process">Process id of the monitor.</param>
/// <param name="Started">When the machine started.</param>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Skip)]
internal sealed record MachineStatus(string Name, string State, int Vcpus, ulong Memory, int Process, DateTimeOffset Started);

/// <summary>The body of <c>PUT /machine/state</c>.</summary>
/// <param name="State"><c>running</c> or <c>paused</c>.</param>
internal sealed record StateRequest([property: JsonRequired] string State);

/// <summary>The body of <c>PUT /machine/power</c>.</summary>
/// <param name="Action">One of <see cref="ControlApi"/>'s actions.</param>
internal sealed record PowerRequest([property: JsonRequired] string Action);

/// <summary>The body of <c>PUT /machine/console/size</c>.</summary>
/// <param name="Rows">Rows of the terminal.</param>
/// <param name="Columns">Columns of the terminal.</param>
internal sealed record SizeRequest([property: JsonRequired] ushort Rows, [property: JsonRequired] ushort Columns);

/// <summary>Serializes these types without reflection. An unknown, repeated or missing member is an error.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    AllowDuplicateProperties = false,
    RespectNullableAnnotations = true,
    MaxDepth = 8)]
[JsonSerializable(typeof(MachineStatus))]
[JsonSerializable(typeof(StateRequest))]
[JsonSerializable(typeof(PowerRequest))]
[JsonSerializable(typeof(SizeRequest))]
[JsonSerializable(typeof(RunEvent))]
[JsonSerializable(typeof(Problem))]
internal sealed partial class ControlJson : JsonSerializerContext
{
    /// <summary>Reads the body of a request.</summary>
    /// <exception cref="HttpError">The body is not a value of the type; the error names the member, the problem and the remedy.</exception>
    public static T Read<T>(byte[] body, JsonTypeInfo<T> type)
        where T : class
    {
        string members = string.Join(" and ", type.Properties.Select(p => $"'{p.Name}'"));
        if (body.Length == 0)
        {
            throw new HttpError(400, null, "The request has no body", $"send a JSON object with {members}");
        }

        try
        {
            using (var document = JsonDocument.Parse(body, new JsonDocumentOptions { MaxDepth = type.Options.MaxDepth }))
            {
                Check(document.RootElement, type, members);
            }

            return JsonSerializer.Deserialize(body, type)!;
        }
        catch (JsonException error) when (error.Path is { Length: > 2 } path) // The path is $.member.
        {
            string name = path[2..].Split('.', '[')[0];
            JsonPropertyInfo? member = type.Properties.FirstOrDefault(p => p.Name == name);
            throw new HttpError(400, $"/{name}", $"The value of '{name}' is not valid", $"give {(member is null ? "another" : Range(member.PropertyType))}");
        }
        catch (InvalidOperationException) // A lone surrogate.
        {
            throw new HttpError(400, null, "The body has a member name that is not valid Unicode", $"send an object with {members}");
        }
        catch (JsonException error)
        {
            throw new HttpError(400, null, $"The body is not valid JSON (line {error.LineNumber + 1 ?? 1}, byte {error.BytePositionInLine ?? 0})", $"send an object with {members}");
        }
    }

    private static void Check(JsonElement body, JsonTypeInfo type, string members)
    {
        if (body.ValueKind != JsonValueKind.Object)
        {
            throw new HttpError(400, null, "The body is not a JSON object", $"send one with {members}");
        }

        HashSet<string> seen = [];
        foreach (JsonProperty given in body.EnumerateObject())
        {
            string field = $"/{given.Name.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal)}"; // RFC 6901, 3.
            if (type.Properties.All(p => p.Name != given.Name))
            {
                throw new HttpError(400, field, $"The member '{given.Name}' is not known", $"send {members}");
            }

            if (!seen.Add(given.Name))
            {
                throw new HttpError(400, field, $"The member '{given.Name}' is there twice", "send it once");
            }
        }

        if (type.Properties.FirstOrDefault(p => !seen.Contains(p.Name)) is { } missing)
        {
            throw new HttpError(400, $"/{missing.Name}", $"The member '{missing.Name}' is missing", $"give {Range(missing.PropertyType)}");
        }
    }

    private static string Range(Type type) => type == typeof(string) ? "a string"
        : type == typeof(ushort) ? $"a whole number from 0 to {ushort.MaxValue}"
        : type == typeof(ulong) ? "a whole number"
        : throw new ArgumentOutOfRangeException(nameof(type));
}
