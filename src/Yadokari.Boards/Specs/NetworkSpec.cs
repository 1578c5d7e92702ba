using System.Globalization;
using System.Net.NetworkInformation;
using Yadokari.Boards.Pc;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Networks;
using Yadokari.Devices.Virtio;
using Yadokari.Networks;
using Yadokari.Networks.User;

namespace Yadokari.Boards.Specs;

/// <summary>The backend of a network card.</summary>
public enum NetworkKind
{
    /// <summary>A user-mode network within the monitor, which needs no privileges and no other program.</summary>
    User,

    /// <summary>A user-mode network by the program passt.</summary>
    Passt,

    /// <summary>A TAP device of the host.</summary>
    Tap,
}

/// <summary>A network card and its backend.</summary>
public sealed record NetworkSpec : DeviceSpec
{
    private const string TapKey = "tap=";

    /// <summary>The kind.</summary>
    public static DeviceKind<NetworkSpec> Networks { get; } = new(new NetworkSpec(), new SpecObject<NetworkSpec>(
        new ChoiceMember<NetworkSpec, NetworkKind>("kind", "What it is plugged into: a network of the monitor's own, the same by the program passt, or a TAP device", [("user", NetworkKind.User), ("passt", NetworkKind.Passt), ("tap", NetworkKind.Tap)], n => n.Network, (n, kind) => n with { Network = kind }),
        new TextMember<NetworkSpec>("tap", "Name of the TAP device", n => n.Tap.Length == 0 ? null : n.Tap, (n, name) => n with { Tap = name }),
        new FlagMember<NetworkSpec>("hostLoopback", "The guest reaches what listens on the host's loopback alone, at the gateway's address", n => n.HostLoopback, (n, on) => n with { HostLoopback = on }, "host-loopback"),
        new TextMember<NetworkSpec>("mac", "The card's address; by default one that is locally administered", n => n.Mac is { } mac ? Show(mac) : null, (n, text) => n with { Mac = ParseMac(text) }, "mac", "ADDRESS", "^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$"),
        new FlagMember<NetworkSpec>("packed", "Offers packed queues too", n => n.Packed, (n, on) => n with { Packed = on }, "packed"),
        new TextsMember<NetworkSpec>("publish", $"Ports of the host forwarded to the guest, each {PortForward.Shape}", n => [.. n.Forwards.Select(f => f.ToString())], (n, texts) => n with { Forwards = [.. texts.Select(PortForward.Parse)] }, "publish", PortForward.Shape)))
    {
        Name = "networks",
        Option = "--net",
        Help = "What the network card is plugged into: a network of its own that needs no rights on the host; none for no card",
        MainShape = "user|passt|tap=NAME|none",
        Main = TakeKind,
    };

    /// <inheritdoc/>
    public override DeviceKind Kind => Networks;

    /// <summary>Its backend.</summary>
    public NetworkKind Network { get; init; }

    /// <summary>The name of the TAP device.</summary>
    public string Tap { get; init; } = "";

    /// <summary>The card's MAC address; null for that of <see cref="MacOf"/>.</summary>
    public PhysicalAddress? Mac { get; init; }

    /// <summary>Ports of the host that are forwarded to the guest.</summary>
    public IReadOnlyList<PortForward> Forwards { get; init; } = [];

    /// <summary>Whether the gateway's address is mapped to the host's loopback.</summary>
    public bool HostLoopback { get; init; }

    /// <summary>Whether the card offers packed virtqueues (VIRTIO_F_RING_PACKED).</summary>
    public bool Packed { get; init; }

    /// <summary>The default MAC address of a machine's card: locally administered.</summary>
    /// <param name="card">Which, from 0.</param>
    public static PhysicalAddress MacOf(int card) => new([0x52, 0x59, 0x41, 0x44, 0x4F, (byte)(0x0F + card)]);

    /// <inheritdoc/>
    public override void Check(DeviceContext context)
    {
        context.CheckCount(PcLayout.MaxNetworks, "network cards");
        if (Network == NetworkKind.Tap && (Forwards.Count > 0 || HostLoopback))
        {
            throw context.Error("Ports are published, and the host's loopback is reached, by networks of the monitor's own, not by a TAP device", "leave that out, and reach the guest by its address", Forwards.Count > 0 ? "publish" : "hostLoopback");
        }

        if (Network == NetworkKind.Tap == (Tap.Length == 0))
        {
            throw context.Error(Tap.Length == 0 ? "A TAP device has a name" : "A name of a TAP device is for a network of that kind", Tap.Length == 0 ? "give it" : "leave it out, or give kind tap", "tap");
        }

        PhysicalAddress own = Mac ?? MacOf(context.Number);
        NetworkSpec[] before = [.. context.Machine.Devices.OfType<NetworkSpec>().Take(context.Number)];
        if (before.Where((n, i) => (n.Mac ?? MacOf(i)).Equals(own)).Any())
        {
            throw context.Error($"Two network cards can't both have the address {Show(own)}", "give each a mac of its own", "mac");
        }
    }

    /// <inheritdoc/>
    public override IDisposable Open(DeviceContext context, Action<Exception> failed) => Network switch
    {
        NetworkKind.Passt => new PasstNetwork(Forwards, HostLoopback, failed),
        NetworkKind.Tap => new TapNetwork(Tap, failed),
        _ => new UserNetwork(Forwards, HostLoopback, failed),
    };

    /// <inheritdoc/>
    public override void Attach(PcBoard board, DeviceContext context, IDisposable? opened) =>
        board.AddVirtio(new VirtioNet((INetwork)opened!, context.Number, Mac ?? MacOf(context.Number)), Packed);

    private static string Show(PhysicalAddress mac) => string.Join(':', mac.GetAddressBytes().Select(b => b.ToString("x2", CultureInfo.InvariantCulture)));

    private static NetworkSpec TakeKind(NetworkSpec network, string text) => text switch
    {
        "user" => network,
        "passt" => network with { Network = NetworkKind.Passt },
        _ when text.StartsWith(TapKey, StringComparison.Ordinal) => network with { Network = NetworkKind.Tap, Tap = text[TapKey.Length..] },
        _ => throw new ConfigurationException("", $"'{text}' is not a network backend", $"give {Networks.Shape}"),
    };

    private static PhysicalAddress ParseMac(string text)
    {
        // A multicast address, or all zeroes, is invalid for a card.
        bool good = PhysicalAddress.TryParse(text.ToUpper(CultureInfo.InvariantCulture).Replace(':', '-'), out PhysicalAddress? mac)
            && mac.GetAddressBytes() is { Length: 6 } bytes && (bytes[0] & 1) == 0 && bytes.Any(b => b != 0);
        return good ? mac! : throw new ConfigurationException("", $"'{text}' is not a MAC address of a card", "give six bytes, the first of them even, as in 52:54:00:12:34:56");
    }
}
