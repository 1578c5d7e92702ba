using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>Limits of the host's resources that one guest's flows use.</summary>
/// <param name="Bytes">Bytes in the buffers of all TCP connections.</param>
/// <param name="Connections">TCP connections, a descriptor each.</param>
/// <param name="Conversations">UDP flows, a descriptor each.</param>
/// <param name="Pings">Flows of ICMP echo, a descriptor each.</param>
internal readonly record struct NetworkLimits(int Bytes, int Connections, int Conversations, int Pings)
{
    private const int MaxBytes = 64 << 20;
    private const int MaxConnections = 4096;
    private const int MaxConversations = 512;
    private const int MaxPings = 64;
    private const int MinDescriptors = 32;

    /// <summary>The limits in a process whose RLIMIT_NOFILE is <paramref name="openFiles"/>. A network gets an eighth: there may be three, and shared folders.</summary>
    public static NetworkLimits Of(long openFiles)
    {
        int descriptors = (int)Math.Clamp(openFiles / 8, MinDescriptors, MaxConnections + MaxConversations + MaxPings);
        int conversations = Math.Min(descriptors / 4, MaxConversations);
        int pings = Math.Min(descriptors / 16, MaxPings);
        return new NetworkLimits(MaxBytes, Math.Min(descriptors - conversations - pings, MaxConnections), conversations, pings);
    }

    /// <summary>The limits in this process.</summary>
    public static NetworkLimits OfThisProcess => Of(FileTree.MaxOpenFiles);
}
