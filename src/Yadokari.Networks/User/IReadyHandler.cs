using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>Handler of a socket's readiness events. Called under the network's lock.</summary>
internal interface IReadyHandler
{
    /// <summary>The socket became readable or writable, or failed.</summary>
    void OnReady(Readiness readiness);
}
