using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Engines;
using Yadokari.Translation;

namespace Yadokari.Host;

/// <summary>Options that apply to any engine.</summary>
/// <param name="Trace">Receives a trace of blocks and exceptions; null for none.</param>
/// <param name="Timed">Whether to measure where time is spent.</param>
/// <param name="Direct">When user code runs directly on the host's processor, if the engine supports it.</param>
internal readonly record struct EngineOptions(TextWriter? Trace, bool Timed, DirectMode Direct);

/// <summary>The registered engines, a line each.</summary>
public static class Engines
{
    private static readonly Dictionary<string, Func<EngineOptions, IEngine>> s_engines = new(StringComparer.Ordinal)
    {
        ["translate"] = options => new TranslationEngine { Trace = options.Trace, Timed = options.Timed, Direct = options.Direct },
    };

    /// <summary>Checks that an engine has this name, without loading it. Returns the name.</summary>
    /// <exception cref="UserErrorException">No engine has the name.</exception>
    public static string CheckName(string name) => s_engines.ContainsKey(name)
        ? name
        : throw new ConfigurationException("/engine", $"'{name}' is not an engine", $"give {string.Join(" or ", s_engines.Keys)}");

    /// <summary>Creates an engine.</summary>
    /// <exception cref="UserErrorException">The engine can't run on this host.</exception>
    internal static IEngine Create(string name, EngineOptions options)
    {
        IEngine engine = s_engines[name](options);
        return engine.Probe() is { Available: false } support
            ? throw new UserErrorException($"--engine {name} can't run on this host: {support.Reason.TrimEnd('.')}.")
            : engine;
    }
}
