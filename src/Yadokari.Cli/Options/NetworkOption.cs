using System.Globalization;
using System.Net.NetworkInformation;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Networks;

namespace Yadokari.Cli.Options;

/// <summary><c>--net</c> and <c>--publish</c>.</summary>
internal static class NetworkOption
{
    /// <summary>How it is written.</summary>
    public const string Shape = "user|passt|tap=NAME|none[,host-loopback][,mac=ADDRESS][,packed]";

    private const string TapKey = "tap=";
    private const string MacKey = "mac=";

    /// <summary>Reads both: a card for each <c>--net</c>. Ports are published by the first of the networks that can.</summary>
    /// <exception cref="UserErrorException">They are not written so, or don't go together.</exception>
    public static IReadOnlyList<NetworkConfig> Parse(IReadOnlyList<string> texts, IReadOnlyList<string> publish)
    {
        if (texts.Contains("none"))
        {
            return texts.Count > 1 ? throw new UserErrorException("--net none goes with no other network: leave it out, or the others.")
                : publish.Count == 0 ? []
                : throw new UserErrorException($"--publish {publish[0]} has no network card to go to: leave it out, or --net none.");
        }

        PortForward[] forwards = [.. publish.Select(PortForward.Parse)];
        NetworkConfig[] networks = [.. texts.Select((text, i) => Parse(text, new NetworkConfig { Mac = NetworkConfig.MacOf(i) }))];
        int own = Array.FindIndex(networks, n => n.Kind != NetworkKind.Tap);
        if (own >= 0)
        {
            networks[own] = networks[own] with { Forwards = forwards };
        }
        else if (forwards.Length > 0)
        {
            throw new UserErrorException($"--publish {publish[0]} goes with networks of the monitor's own, not with --net {texts[0]}: leave it out, and reach the guest by its address.");
        }

        return networks;
    }

    private static NetworkConfig Parse(string text, NetworkConfig network)
    {
        string[] parts = text.Split(',');
        network = parts[0] switch
        {
            "user" => network,
            "passt" => network with { Kind = NetworkKind.Passt },
            _ when parts[0].StartsWith(TapKey, StringComparison.Ordinal) => network with { Kind = NetworkKind.Tap, Tap = parts[0][TapKey.Length..] },
            _ => throw new UserErrorException($"--net {UserText.Shown(text)} is no network: give {Shape}."),
        };
        foreach (string setting in parts[1..])
        {
            network = setting switch
            {
                "host-loopback" when network.Kind != NetworkKind.Tap => network with { HostLoopback = true },
                "packed" => network with { Packed = true },
                _ when setting.StartsWith(MacKey, StringComparison.Ordinal) => network with { Mac = ParseMac(setting[MacKey.Length..]) },
                _ => throw new UserErrorException($"--net {text} has a setting '{setting}' that is not known: give {Shape}."),
            };
        }

        return network;
    }

    private static PhysicalAddress ParseMac(string text)
    {
        // An address for many, or none at all, is no card's.
        bool good = PhysicalAddress.TryParse(text.ToUpper(CultureInfo.InvariantCulture).Replace(':', '-'), out PhysicalAddress? mac)
            && mac.GetAddressBytes() is { Length: 6 } bytes && (bytes[0] & 1) == 0 && bytes.Any(b => b != 0);
        return good ? mac! : throw new UserErrorException($"--net mac={text} is no address of a card: give six bytes, the first of them even, as in mac=52:54:00:12:34:56.");
    }
}
