using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Networks;

namespace Yadokari.Cli.Options;

/// <summary><c>--port NAME=SOCKET</c>: a port of the guest's by name.</summary>
internal static class PortOption
{
    /// <summary>What the option takes, for help.</summary>
    public const string Shape = "NAME=SOCKET";

    /// <summary>Reads one.</summary>
    /// <exception cref="UserErrorException">It is not written so.</exception>
    public static PortConfig Parse(string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        return equals > 0 && equals < text.Length - 1
            ? new PortConfig(text[..equals], text[(equals + 1)..])
            : throw new UserErrorException($"--port {UserText.Shown(text)} is no port: give its name in the guest and the path of its socket, as in --port org.qemu.guest_agent.0=/tmp/agent.sock.");
    }
}
