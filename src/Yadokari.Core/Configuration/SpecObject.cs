using System.Text.Json;
using System.Text.Json.Nodes;

namespace Yadokari.Core.Configuration;

/// <summary>The members of a specification, by which it is read from JSON, written and described. Immutable; any thread.</summary>
/// <typeparam name="T">The specification, a record.</typeparam>
public sealed class SpecObject<T>(params IReadOnlyList<SpecMember<T>> members)
{
    /// <summary>The members, in the order in which they are written.</summary>
    public IReadOnlyList<SpecMember<T>> Members => members;

    /// <summary>Takes the members of a JSON object.</summary>
    /// <param name="seed">What those that are not there are.</param>
    /// <param name="json">The object.</param>
    /// <param name="others">Takes a member that is none of these; false if it is not known.</param>
    /// <exception cref="ConfigurationException">One is not known, there twice or can't be: it is the field.</exception>
    public T Read(T seed, JsonElement json, Func<JsonProperty, bool>? others = null)
    {
        if (json.ValueKind != JsonValueKind.Object)
        {
            throw new ConfigurationException("", "This is not a JSON object", $"give one with {Names}");
        }

        HashSet<string> seen = [];
        foreach (JsonProperty given in json.EnumerateObject())
        {
            string name = NameOf(given);
            string field = "/" + name.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);
            if (!seen.Add(name))
            {
                throw new ConfigurationException(field, $"The member '{name}' is there twice", "give it once");
            }

            try
            {
                if (members.FirstOrDefault(m => m.Name == name) is { } member)
                {
                    seed = member.Read(seed, given.Value);
                }
                else if (others?.Invoke(given) != true)
                {
                    throw new ConfigurationException("", $"The member '{name}' is not known", $"give {Names}{(others is null ? "" : ", or a device")}");
                }
            }
            catch (ConfigurationException error)
            {
                throw error.Within(field);
            }
        }

        return seed;
    }

    // Of invalid UTF-8, or of an escaped half of a surrogate pair.
    private static string NameOf(JsonProperty property)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException)
        {
            throw new ConfigurationException("", "A member's name is not valid Unicode", "write it as text in UTF-8");
        }
    }

    /// <summary>Writes the members that are not as by default, within an object.</summary>
    public void Write(Utf8JsonWriter json, T spec)
    {
        foreach (SpecMember<T> member in members)
        {
            member.Write(json, spec);
        }
    }

    /// <summary>The members as a JSON schema has them (2020-12): a new object.</summary>
    public JsonObject Properties()
    {
        var properties = new JsonObject();
        foreach (SpecMember<T> member in members)
        {
            JsonObject schema = member.Schema();
            schema["description"] = member.Help;
            properties[member.Name] = schema;
        }

        return properties;
    }

    private string Names => string.Join(", ", members.Select(m => m.Name));
}
