using System.Text.RegularExpressions;

namespace Yadokari.Core.Configuration;

/// <summary>
/// A value of a specification that can't be. The front end names fields in its own way: <c>/disks/0/bus</c> of a file is <c>--disk</c> on a command
/// line. Problem and remedy may name further fields, as <c>{/firmware}</c>.
/// </summary>
/// <param name="pointer">A JSON pointer (RFC 6901) into the specification; empty for the whole.</param>
/// <param name="problem">What is wrong, as the beginning of a sentence: "The bus 'scsi' is not known".</param>
/// <param name="remedy">What to do: "give virtio or ide".</param>
public sealed partial class ConfigurationException(string pointer, string problem, string remedy)
    : UserErrorException(Sentence(pointer, problem, remedy, name => name))
{
    /// <summary>A JSON pointer; empty for the whole.</summary>
    public string Field => pointer;

    /// <summary>What is wrong, with fields by their pointers.</summary>
    public string Problem => Named(problem, name => name);

    /// <summary>What to do, with fields by their pointers.</summary>
    public string Remedy => Named(remedy, name => name);

    /// <summary>The sentence for a user, which names the field once at least.</summary>
    /// <param name="name">What the user calls a field.</param>
    public string Describe(Func<string, string> name) => Sentence(pointer, problem, remedy, name);

    /// <summary>The same of a field within another.</summary>
    /// <param name="outer">The pointer of the other.</param>
    public ConfigurationException Within(string outer) => new(outer + pointer, problem, remedy);

    private static string Sentence(string field, string problem, string remedy, Func<string, string> name) =>
        Named($"{problem}{(field.Length == 0 || (problem + remedy).Contains($"{{{field}}}", StringComparison.Ordinal) ? "" : $" ({{{field}}})")}: {remedy}.", name);

    private static string Named(string text, Func<string, string> name) => Mention().Replace(text, match => name(match.Groups[1].Value));

    [GeneratedRegex(@"\{(/[^}]*)\}")]
    private static partial Regex Mention();
}
