using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>What one guest may take of the host by its flows.</summary>
/// <param name="Bytes">Bytes in the buffers of all TCP connections.</param>
/// <param name="Connections">TCP connections, a descriptor each.</param>
/// <param name="Conversations">UDP conversations, a descriptor each.</param>
/// <param name="Pings">Conversations by echo requests, a descriptor each.</param>
internal readonly record struct NetworkLimits(int Bytes, int Connections, int Conversations, int Pings)
{
    private const int MostBytes = 64 << 20;
    private const int MostConnections = 4096;
    private const int MostConversations = 512;
    private const int MostPings = 64;
    private const int LeastDescriptors = 32;

    /// <summary>Those of a process that may have so many files open, of which a network gets an eighth: there may be three, and shared folders.</summary>
    public static NetworkLimits Of(long openFiles)
    {
        int descriptors = (int)Math.Clamp(openFiles / 8, LeastDescriptors, MostConnections + MostConversations + MostPings);
        int conversations = Math.Min(descriptors / 4, MostConversations);
        int pings = Math.Min(descriptors / 16, MostPings);
        return new NetworkLimits(MostBytes, Math.Min(descriptors - conversations - pings, MostConnections), conversations, pings);
    }

    /// <summary>Those of this process.</summary>
    public static NetworkLimits OfThisProcess => Of(FileTree.MostOpenFiles);
}
