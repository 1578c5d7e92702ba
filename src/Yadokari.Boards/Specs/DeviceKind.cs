using System.Text.Json;
using System.Text.Json.Nodes;
using Yadokari.Core.Configuration;

namespace Yadokari.Boards.Specs;

/// <summary>A kind of devices that users may ask for: what it is called and how it is written. Immutable; any thread.</summary>
public abstract class DeviceKind
{
    /// <summary>What it is called in JSON: <c>disks</c>, a list, or what a machine has one of.</summary>
    public required string Name { get; init; }

    /// <summary>Its option: <c>--disk</c>.</summary>
    public required string Option { get; init; }

    /// <summary>What it is, for help and the schema.</summary>
    public required string Help { get; init; }

    /// <summary>Whether a machine may have several.</summary>
    public bool Repeats { get; init; } = true;

    /// <summary>How the option's value is written.</summary>
    public abstract string Shape { get; }

    /// <summary>Reads an option's value.</summary>
    /// <exception cref="ConfigurationException">It can't be; the field is <see cref="Name"/>'s.</exception>
    public abstract DeviceSpec Parse(string text);

    /// <summary>Takes all devices of the kind from the value of the member called <see cref="Name"/>.</summary>
    /// <exception cref="ConfigurationException">One can't be; the field is within that member.</exception>
    public IEnumerable<DeviceSpec> Read(JsonElement json)
    {
        if (!Repeats)
        {
            return [ReadOne(json)];
        }

        if (json.ValueKind != JsonValueKind.Array)
        {
            throw new ConfigurationException("", $"The value of '{Name}' is not a list", "give one, in square brackets");
        }

        List<DeviceSpec> devices = [];
        foreach (JsonElement element in json.EnumerateArray())
        {
            try
            {
                devices.Add(ReadOne(element));
            }
            catch (ConfigurationException error)
            {
                throw error.Within($"/{devices.Count}");
            }
        }

        return devices;
    }

    /// <summary>Writes devices of the kind, as the value of a member.</summary>
    public void Write(Utf8JsonWriter json, IEnumerable<DeviceSpec> devices)
    {
        if (!Repeats)
        {
            WriteOne(json, devices.Single());
            return;
        }

        json.WriteStartArray();
        foreach (DeviceSpec device in devices)
        {
            WriteOne(json, device);
        }

        json.WriteEndArray();
    }

    /// <summary>The JSON schema of the member's value: a new object.</summary>
    public JsonObject Schema() => Repeats
        ? new JsonObject { ["type"] = "array", ["description"] = Help, ["items"] = SchemaOfOne() }
        : SchemaOfOne();

    private protected abstract DeviceSpec ReadOne(JsonElement json);

    private protected abstract void WriteOne(Utf8JsonWriter json, DeviceSpec device);

    private protected abstract JsonObject SchemaOfOne();
}

/// <inheritdoc/>
/// <typeparam name="T">Their specification.</typeparam>
/// <param name="seed">What members are that are not given.</param>
/// <param name="members">The members.</param>
public sealed class DeviceKind<T>(T seed, SpecObject<T> members) : DeviceKind
    where T : DeviceSpec
{
    /// <summary>How what comes first in an option's value is written: <c>FILE</c>.</summary>
    public required string MainShape { get; init; }

    /// <summary>Takes what comes first; may throw a <see cref="ConfigurationException"/> without a field.</summary>
    public required Func<T, string, T> Main { get; init; }

    /// <summary>Whether what comes first may have commas in it: then what is no setting belongs to it.</summary>
    public bool HasCommas { get; init; }

    /// <summary>Names of members that have to be there.</summary>
    public IReadOnlyList<string> Required { get; init; } = [];

    /// <inheritdoc/>
    public override string Shape => MainShape + string.Concat(members.Members.Select(m => m.Shape));

    /// <inheritdoc/>
    public override DeviceSpec Parse(string text)
    {
        try
        {
            return HasCommas ? ParseFromEnd(text) : ParseFromBeginning(text);
        }
        catch (ConfigurationException error)
        {
            throw error.Within($"/{Name}");
        }
    }

    private protected override DeviceSpec ReadOne(JsonElement json)
    {
        T device = members.Read(seed, json);
        return Required.FirstOrDefault(name => !json.TryGetProperty(name, out _)) is { } missing
            ? throw new ConfigurationException("", $"The member '{missing}' is missing", "give it")
            : device;
    }

    private protected override void WriteOne(Utf8JsonWriter json, DeviceSpec device)
    {
        json.WriteStartObject();
        members.Write(json, (T)device);
        json.WriteEndObject();
    }

    private protected override JsonObject SchemaOfOne() => new()
    {
        ["type"] = "object",
        ["description"] = Help,
        ["additionalProperties"] = false,
        ["required"] = new JsonArray([.. Required.Select(name => (JsonNode)name)]),
        ["properties"] = members.Properties(),
    };

    private T ParseFromBeginning(string text)
    {
        string[] parts = text.Split(',');
        T device = Main(seed, parts[0]);
        foreach (string setting in parts[1..])
        {
            if (!TryTake(ref device, setting))
            {
                throw new ConfigurationException("", $"'{text}' has a setting '{setting}' that is not known", $"give {Shape}");
            }
        }

        return device;
    }

    private T ParseFromEnd(string text)
    {
        T device = seed;
        while (text.LastIndexOf(',') is >= 0 and int comma && TryTake(ref device, text[(comma + 1)..]))
        {
            text = text[..comma];
        }

        return Main(device, text);
    }

    private bool TryTake(ref T device, string setting)
    {
        foreach (SpecMember<T> member in members.Members)
        {
            if (member.TryTake(ref device, setting))
            {
                return true;
            }
        }

        return false;
    }
}
