using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Engines;
using Yadokari.Translation;

namespace Yadokari.Host;

/// <summary>What the user wants of whichever engine it is.</summary>
/// <param name="Trace">Gets blocks and exceptions; null for no trace.</param>
/// <param name="Timed">Whether to measure where time goes.</param>
/// <param name="Direct">When user code runs on the processor itself, where the engine can do that.</param>
internal readonly record struct EngineOptions(TextWriter? Trace, bool Timed, DirectMode Direct);

/// <summary>The engines there are: one line each.</summary>
public static class Engines
{
    private static readonly Dictionary<string, Func<EngineOptions, IEngine>> s_engines = new(StringComparer.Ordinal)
    {
        ["translate"] = options => new TranslationEngine { Trace = options.Trace, Timed = options.Timed, Direct = options.Direct },
    };

    /// <summary>Looks whether there is an engine of that name, without loading it.</summary>
    /// <exception cref="UserErrorException">There is none.</exception>
    public static string CheckName(string name) => s_engines.ContainsKey(name)
        ? name
        : throw new ConfigurationException("/engine", $"'{name}' is not an engine", $"give {string.Join(" or ", s_engines.Keys)}");

    /// <summary>Makes an engine that can run on this host.</summary>
    /// <exception cref="UserErrorException">It can't.</exception>
    internal static IEngine Create(string name, EngineOptions options)
    {
        IEngine engine = s_engines[name](options);
        return engine.Probe() is { Available: false } support
            ? throw new UserErrorException($"--engine {name} can't run on this host: {support.Reason.TrimEnd('.')}.")
            : engine;
    }
}
