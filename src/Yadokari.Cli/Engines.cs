using Yadokari.Core;
using Yadokari.Core.Engines;

namespace Yadokari.Cli;

/// <summary>The engines there are: one line each.</summary>
internal static class Engines
{
    private static readonly Dictionary<string, Func<IEngine>> s_engines = new(StringComparer.Ordinal)
    {
        ["translate"] = () => throw new UserErrorException("The translation engine is not in this build yet: come back soon."),
    };

    /// <summary>Looks whether there is an engine of that name, without loading it.</summary>
    /// <exception cref="UserErrorException">There is none.</exception>
    public static string CheckName(string name) => s_engines.ContainsKey(name)
        ? name
        : throw new UserErrorException($"--engine {name} is not an engine: give one of {string.Join(", ", s_engines.Keys)}.");

    /// <summary>Makes an engine that can run on this host.</summary>
    /// <exception cref="UserErrorException">It can't.</exception>
    public static IEngine Create(string name)
    {
        IEngine engine = s_engines[name]();
        return engine.Probe() is { Available: false } support
            ? throw new UserErrorException($"--engine {name} can't run on this host: {support.Reason}")
            : engine;
    }
}
