using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>Something with a host's socket. Under the network's lock.</summary>
internal interface IReady
{
    /// <summary>The socket can be used again.</summary>
    void OnReady(Readiness readiness);
}
