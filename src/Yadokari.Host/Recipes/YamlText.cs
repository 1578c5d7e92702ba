using Yadokari.Core;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace Yadokari.Host.Recipes;

/// <summary>Parses untrusted YAML.</summary>
internal static class YamlText
{
    private const int MaxDepth = 100;

    /// <summary>Parses a single document.</summary>
    /// <param name="text">The text.</param>
    /// <param name="bad">Creates the exception from a line number and a reason.</param>
    /// <returns>The document; null if the text is empty.</returns>
    /// <exception cref="UserErrorException">The text is not valid YAML.</exception>
    public static YamlNode? Read(string text, Func<long, string, UserErrorException> bad)
    {
        var parser = new Parser(new StringReader(text));
        long line = 1;
        try
        {
            // The first pass does not recurse, so deep nesting can't overflow the stack; it limits the depth.
            int depth = 0;
            int documents = 0;
            while (parser.MoveNext())
            {
                line = parser.Current!.Start.Line;
                depth += parser.Current.NestingIncrease;
                documents += parser.Current is DocumentStart ? 1 : 0;
                if (depth > MaxDepth || documents > 1)
                {
                    throw bad(line, documents > 1 ? "a second document begins" : "it is nested too deep");
                }
            }

            var stream = new YamlStream();
            stream.Load(new StringReader(text));
            return stream.Documents.Count == 0 ? null : stream.Documents[0].RootNode;
        }
        catch (YamlException error)
        {
            string reason = (error.InnerException?.Message ?? error.Message).TrimEnd('.', ' ').ReplaceLineEndings(" ");
            bool prefixed = reason.StartsWith('(') && reason.Contains("): ", StringComparison.Ordinal);
            throw bad(error.Start.Line, prefixed ? reason[(reason.IndexOf("): ", StringComparison.Ordinal) + 3)..] : reason);
        }
        catch (InvalidOperationException)
        {
            throw bad(line, "its structure is broken"); // The library's scanner throws this for a value that is not closed.
        }
    }
}
