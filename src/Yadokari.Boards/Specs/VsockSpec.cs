using Yadokari.Boards.Pc;
using Yadokari.Core.Configuration;
using Yadokari.Core.Networks;
using Yadokari.Devices.Virtio;
using Yadokari.Networks.Streams;

namespace Yadokari.Boards.Specs;

/// <summary>A socket device: streams between guest and host without a network (vsock(7)).</summary>
/// <param name="Path">The host's end: a socket of that name for connections to the guest, and <c>PATH_PORT</c> for those from it.</param>
/// <param name="Cid">The guest's context ID (CID).</param>
public sealed record VsockSpec(string Path, uint Cid = VsockSpec.FirstCid) : DeviceSpec
{
    /// <summary>The lowest CID of a guest: 0 to 2 are reserved, for the hypervisor, the local machine and the host.</summary>
    public const uint FirstCid = 3;

    /// <summary>The kind.</summary>
    public static DeviceKind<VsockSpec> Vsocks { get; } = new(new VsockSpec(""), new SpecObject<VsockSpec>(
        new TextMember<VsockSpec>("socket", "Path of the socket that leads to the guest's ports; PATH_PORT is a port of the host", v => v.Path, Named),
        new NumberMember<VsockSpec>("cid", "The guest's address", FirstCid, uint.MaxValue - 1, v => v.Cid == FirstCid ? null : v.Cid, (v, cid) => v with { Cid = (uint)cid }, "cid")))
    {
        Name = "vsock",
        Option = "--vsock",
        Help = "Sockets between guest and host (vsock): this one leads to the guest's ports, PATH_PORT is a port of the host",
        Repeats = false,
        MainShape = "PATH",
        HasCommas = true,
        Main = Named,
        Required = ["socket"],
    };

    /// <inheritdoc/>
    public override DeviceKind Kind => Vsocks;

    /// <inheritdoc/>
    public override IDisposable Open(DeviceContext context, Action<Exception> failed) => new SocketStreams(Path, failed);

    /// <inheritdoc/>
    public override void Attach(PcBoard board, DeviceContext context, IDisposable? opened) => board.AddVirtio(new VirtioVsock((IStreamHost)opened!, Cid));

    private static VsockSpec Named(VsockSpec vsock, string path) => path.Length > 0
        ? vsock with { Path = path }
        : throw new ConfigurationException("", "This names no socket", "give the path that it is to have, as in /tmp/guest.sock");
}
