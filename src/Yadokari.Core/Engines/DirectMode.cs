namespace Yadokari.Core.Engines;

/// <summary>When the guest's user-mode code runs directly on the host's processor, in a separate process (direct execution), if the engine supports it.</summary>
public enum DirectMode
{
    /// <summary>While that is faster than translation.</summary>
    Auto,

    /// <summary>Never.</summary>
    Off,

    /// <summary>Whenever possible, even if it is slower.</summary>
    Always,
}
