namespace Yadokari.Core.Engines;

/// <summary>When user-mode code of the guest runs on the processor itself, in a process of its own (direct execution), under an engine that can do that.</summary>
public enum DirectMode
{
    /// <summary>While that is faster.</summary>
    Auto,

    /// <summary>Never.</summary>
    Off,

    /// <summary>Whenever it can be, whatever it costs.</summary>
    Always,
}
