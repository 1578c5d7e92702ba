using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Yadokari.Core.Configuration;

/// <summary>
/// A member of a specification: how it is written in JSON and on a command line, and what help says of it. Immutable; any thread.
/// </summary>
/// <typeparam name="T">The specification, a record.</typeparam>
/// <param name="name">In JSON.</param>
/// <param name="help">What it means, for help and the schema.</param>
/// <param name="word">Its setting behind an option, as <c>word=VALUE</c>; null for none.</param>
public abstract class SpecMember<T>(string name, string help, string? word)
{
    /// <summary>Its name in JSON.</summary>
    public string Name => name;

    /// <summary>What it means.</summary>
    public string Help => help;

    /// <summary>Its setting behind an option; null for none.</summary>
    protected string? Word => word;

    /// <summary>What it is called as an option of its own: <c>--memory</c>.</summary>
    public virtual string Option => "--" + name;

    /// <summary>Whether the option may be given again.</summary>
    public virtual bool Repeats => false;

    /// <summary>What help calls its value.</summary>
    public abstract string Value { get; }

    /// <summary>How it is written behind the other settings of an option; null if it is not a setting there.</summary>
    public virtual string? Shape => word is null ? null : $"[,{word}={Value}]";

    /// <summary>What the schema says of its value.</summary>
    public abstract JsonObject Schema();

    /// <summary>Takes the value from JSON.</summary>
    /// <exception cref="ConfigurationException">It can't be; the field is empty.</exception>
    public abstract T Read(T spec, JsonElement value);

    /// <summary>Writes name and value; nothing where that is the default.</summary>
    public abstract void Write(Utf8JsonWriter json, T spec);

    /// <summary>Takes the values of an option of its own, one or more, instead of what was there.</summary>
    /// <exception cref="ConfigurationException">One can't be; the field is empty.</exception>
    public virtual T Parse(T spec, IReadOnlyList<string> texts) => Parse(spec, texts[^1]);

    /// <summary>Takes a setting of a command line. False if it is not this member's.</summary>
    /// <exception cref="ConfigurationException">It is, and its value can't be; the field is empty.</exception>
    public virtual bool TryTake(ref T spec, string setting)
    {
        if (word is null || !setting.StartsWith(word, StringComparison.Ordinal) || setting.Length <= word.Length || setting[word.Length] != '=')
        {
            return false;
        }

        spec = Parse(spec, setting[(word.Length + 1)..]);
        return true;
    }

    /// <summary>What it is as text, as <see cref="Parse(T, IReadOnlyList{string})"/> takes it; null where it is not given.</summary>
    public abstract string? Show(T spec);

    private protected abstract T Parse(T spec, string text);

    /// <summary>A string of JSON as a value.</summary>
    /// <exception cref="ConfigurationException">It is not valid Unicode, or can't be a value; the field is empty.</exception>
    protected static string TextOf(JsonElement json)
    {
        try
        {
            return Checked(json.GetString()!);
        }
        catch (InvalidOperationException)
        {
            throw new ConfigurationException("", "The text is not valid Unicode", "write it in UTF-8");
        }
    }

    /// <summary>A text as a value: neither a path nor a command line can have a NUL.</summary>
    /// <exception cref="ConfigurationException">It has one; the field is empty.</exception>
    protected static string Checked(string text) => text.Contains('\0', StringComparison.Ordinal)
        ? throw new ConfigurationException("", "The text has a NUL character", "leave it out")
        : text;

    /// <summary>What is said of a value of the wrong type.</summary>
    protected ConfigurationException WrongType(JsonElement value, string wanted) =>
        new("", $"The value of '{name}' is {Kind(value)}", $"give {wanted}");

    private static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => "text",
        JsonValueKind.Number => "a number",
        JsonValueKind.True or JsonValueKind.False => "true or false",
        JsonValueKind.Null => "null",
        JsonValueKind.Array => "a list",
        _ => "an object",
    };
}

/// <summary>Text, or what is written as text.</summary>
/// <param name="name">In JSON.</param>
/// <param name="help">What it means.</param>
/// <param name="get">Reads it; null for the default.</param>
/// <param name="set">Sets it; may throw a <see cref="ConfigurationException"/> without a field.</param>
/// <param name="word">Its setting on a command line, as <c>word=VALUE</c>; null for none.</param>
/// <param name="value">What help calls the value.</param>
/// <param name="pattern">A regular expression for the schema; null for any text.</param>
public sealed class TextMember<T>(string name, string help, Func<T, string?> get, Func<T, string, T> set, string? word = null, string value = "TEXT", string? pattern = null) : SpecMember<T>(name, help, word)
{
    /// <inheritdoc/>
    public override string Value => value;

    /// <inheritdoc/>
    public override JsonObject Schema() => pattern is null ? new() { ["type"] = "string" } : new() { ["type"] = "string", ["pattern"] = pattern };

    /// <inheritdoc/>
    public override T Read(T spec, JsonElement json) => json.ValueKind == JsonValueKind.String ? set(spec, TextOf(json)) : throw WrongType(json, "text");

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter json, T spec)
    {
        if (get(spec) is { } text)
        {
            json.WriteString(Name, text);
        }
    }

    /// <inheritdoc/>
    public override string? Show(T spec) => get(spec);

    private protected override T Parse(T spec, string text) => set(spec, Checked(text));
}

/// <summary>True or false, by default false.</summary>
/// <param name="name">In JSON.</param>
/// <param name="help">What it means.</param>
/// <param name="get">Reads it.</param>
/// <param name="set">Sets it; may throw a <see cref="ConfigurationException"/> without a field.</param>
/// <param name="word">Its setting on a command line.</param>
public sealed class FlagMember<T>(string name, string help, Func<T, bool> get, Func<T, bool, T> set, string? word = null) : SpecMember<T>(name, help, word)
{
    /// <inheritdoc/>
    public override string Value => "on|off";

    /// <inheritdoc/>
    public override string? Shape => Word is null ? null : $"[,{Word}]";

    /// <inheritdoc/>
    public override JsonObject Schema() => new() { ["type"] = "boolean", ["default"] = false };

    /// <inheritdoc/>
    public override T Read(T spec, JsonElement json) =>
        json.ValueKind is JsonValueKind.True or JsonValueKind.False ? set(spec, json.GetBoolean()) : throw WrongType(json, "true or false");

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter json, T spec)
    {
        if (get(spec))
        {
            json.WriteBoolean(Name, true);
        }
    }

    /// <inheritdoc/>
    public override bool TryTake(ref T spec, string setting)
    {
        if (setting != Word)
        {
            return base.TryTake(ref spec, setting);
        }

        spec = set(spec, true);
        return true;
    }

    /// <inheritdoc/>
    public override string? Show(T spec) => get(spec) ? "on" : null;

    private protected override T Parse(T spec, string text) => text switch
    {
        "on" => set(spec, true),
        "off" => set(spec, false),
        _ => throw new ConfigurationException("", $"The {Name} '{text}' is not known", "give on or off"),
    };
}

/// <summary>One of a few words.</summary>
/// <param name="name">In JSON.</param>
/// <param name="help">What it means.</param>
/// <param name="words">The words, and what they stand for.</param>
/// <param name="get">Reads it; null for the default.</param>
/// <param name="set">Sets it.</param>
/// <param name="word">Its setting on a command line, as <c>word=CHOICE</c>; null for none.</param>
public sealed class ChoiceMember<T, TValue>(string name, string help, IReadOnlyList<(string Word, TValue Value)> words, Func<T, TValue?> get, Func<T, TValue, T> set, string? word = null) : SpecMember<T>(name, help, word)
    where TValue : struct
{
    /// <inheritdoc/>
    public override string Value => string.Join('|', words.Select(w => w.Word));

    /// <inheritdoc/>
    public override JsonObject Schema() => new() { ["enum"] = new JsonArray([.. words.Select(w => (JsonNode)w.Word)]) };

    /// <inheritdoc/>
    public override T Read(T spec, JsonElement json) => json.ValueKind == JsonValueKind.String ? Take(spec, TextOf(json)) : throw WrongType(json, Choices);

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter json, T spec)
    {
        if (Show(spec) is { } text)
        {
            json.WriteString(Name, text);
        }
    }

    /// <inheritdoc/>
    public override string? Show(T spec) => get(spec) is { } value ? words.First(w => w.Value.Equals(value)).Word : null;

    private protected override T Parse(T spec, string text) => Take(spec, text);

    private string Choices => words.Count < 3 ? string.Join(" or ", words.Select(w => w.Word)) : string.Join(", ", words.SkipLast(1).Select(w => w.Word)) + " or " + words[^1].Word;

    /// <summary>Takes a word.</summary>
    /// <exception cref="ConfigurationException">It is none of the words; the field is empty.</exception>
    public T Take(T spec, string text)
    {
        foreach ((string choice, TValue value) in words)
        {
            if (choice == text)
            {
                return set(spec, value);
            }
        }

        throw new ConfigurationException("", $"The value '{text}' of '{Name}' is not known", $"give {Choices}");
    }
}

/// <summary>A whole number.</summary>
/// <param name="name">In JSON.</param>
/// <param name="help">What it means.</param>
/// <param name="least">The least.</param>
/// <param name="most">The most.</param>
/// <param name="get">Reads it; null for the default.</param>
/// <param name="set">Sets it.</param>
/// <param name="word">Its setting on a command line, as <c>word=N</c>; null for none.</param>
/// <param name="value">What help calls the value.</param>
public sealed class NumberMember<T>(string name, string help, long least, long most, Func<T, long?> get, Func<T, long, T> set, string? word = null, string value = "N") : SpecMember<T>(name, help, word)
{
    /// <inheritdoc/>
    public override string Value => value;

    /// <inheritdoc/>
    public override JsonObject Schema() => new() { ["type"] = "integer", ["minimum"] = least, ["maximum"] = most };

    /// <inheritdoc/>
    public override T Read(T spec, JsonElement json) => json.ValueKind != JsonValueKind.Number ? throw WrongType(json, $"a number from {least} to {most}")
        : json.TryGetInt64(out long number) ? Set(spec, number) : throw OutOfRange(json.GetRawText());

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter json, T spec)
    {
        if (get(spec) is { } number)
        {
            json.WriteNumber(Name, number);
        }
    }

    /// <inheritdoc/>
    public override string? Show(T spec) => get(spec)?.ToString(CultureInfo.InvariantCulture);

    private protected override T Parse(T spec, string text)
    {
        bool hex = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        return long.TryParse(hex ? text[2..] : text, hex ? NumberStyles.AllowHexSpecifier : NumberStyles.None, CultureInfo.InvariantCulture, out long number)
            ? Set(spec, number)
            : throw OutOfRange(text);
    }

    private T Set(T spec, long number) => number >= least && number <= most ? set(spec, number) : throw OutOfRange(number.ToString(CultureInfo.InvariantCulture));

    private ConfigurationException OutOfRange(string text) => new("", $"The value '{text}' of '{Name}' is {(text.AsSpan().TrimStart('-').ContainsAnyExceptInRange('0', '9') ? "no whole number" : "out of range")}", $"give a number from {least} to {most}");
}

/// <summary>A list of texts, or of what is written as text.</summary>
/// <param name="name">In JSON.</param>
/// <param name="help">What it means.</param>
/// <param name="get">Reads it.</param>
/// <param name="set">Sets it; may throw a <see cref="ConfigurationException"/> without a field.</param>
/// <param name="one">What one is called, for the option.</param>
/// <param name="value">What help calls one.</param>
public sealed class TextsMember<T>(string name, string help, Func<T, IReadOnlyList<string>> get, Func<T, IReadOnlyList<string>, T> set, string one, string value = "TEXT") : SpecMember<T>(name, help, null)
{
    /// <inheritdoc/>
    public override string Option => "--" + one;

    /// <inheritdoc/>
    public override bool Repeats => true;

    /// <inheritdoc/>
    public override string Value => value;

    /// <inheritdoc/>
    public override JsonObject Schema() => new() { ["type"] = "array", ["items"] = new JsonObject { ["type"] = "string" } };

    /// <inheritdoc/>
    public override T Read(T spec, JsonElement json) =>
        json.ValueKind == JsonValueKind.Array && json.EnumerateArray().All(e => e.ValueKind == JsonValueKind.String)
            ? set(spec, [.. json.EnumerateArray().Select(TextOf)])
            : throw WrongType(json, "a list of texts");

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter json, T spec)
    {
        if (get(spec) is { Count: > 0 } texts)
        {
            json.WriteStartArray(Name);
            foreach (string text in texts)
            {
                json.WriteStringValue(text);
            }

            json.WriteEndArray();
        }
    }

    /// <inheritdoc/>
    public override T Parse(T spec, IReadOnlyList<string> texts) => set(spec, [.. texts.Select(Checked)]);

    /// <inheritdoc/>
    public override string? Show(T spec) => null;

    private protected override T Parse(T spec, string text) => set(spec, [text]);
}
