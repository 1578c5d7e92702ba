using System.Text;
using Yadokari.Boards.Pc;
using Yadokari.Core.Configuration;
using Yadokari.Core.Networks;
using Yadokari.Devices.Virtio;
using Yadokari.Networks.Streams;

namespace Yadokari.Boards.Specs;

/// <summary>A named virtio console port, as a guest agent uses it, and the Unix domain socket by which programs of the host connect to it.</summary>
/// <param name="Name">By which the guest knows it: <c>/dev/virtio-ports/NAME</c> in Linux.</param>
/// <param name="Path">The socket.</param>
public sealed record PortSpec(string Name, string Path) : DeviceSpec
{
    /// <summary>The kind.</summary>
    public static DeviceKind<PortSpec> Ports { get; } = new(new PortSpec("", ""), new SpecObject<PortSpec>(
        new TextMember<PortSpec>("name", "By which the guest knows it (/dev/virtio-ports/NAME)", p => p.Name, (p, name) => p with { Name = name }),
        new TextMember<PortSpec>("socket", "Path of the socket that leads there", p => p.Path, (p, path) => p with { Path = path })))
    {
        Name = "ports",
        Option = "--port",
        Help = "Port by name for a program in the guest, such as a guest agent (/dev/virtio-ports/NAME), and the socket of this host's that leads there",
        MainShape = "NAME=SOCKET",
        HasCommas = true,
        Main = TakeBoth,
        Required = ["name", "socket"],
    };

    /// <inheritdoc/>
    public override DeviceKind Kind => Ports;

    /// <inheritdoc/>
    public override void Check(DeviceContext context)
    {
        context.CheckCount(VirtioConsole.MaxPorts, "ports");
        if (Name.Length == 0 || Encoding.UTF8.GetByteCount(Name) > VirtioConsole.MaxNameLength)
        {
            throw context.Error($"'{Name}' can't be a port's name, for that has 1 to {VirtioConsole.MaxNameLength} bytes", "give a shorter one", "name");
        }

        if (context.Machine.Devices.OfType<PortSpec>().Take(context.Number).Any(p => p.Name == Name))
        {
            throw context.Error($"Two ports can't both be called '{Name}'", "give each a name of its own", "name");
        }
    }

    /// <inheritdoc/>
    public override IDisposable Open(DeviceContext context, Action<Exception> failed) => new SocketPort(Path, failed);

    /// <inheritdoc/>
    public override void Attach(PcBoard board, DeviceContext context, IDisposable? opened) => board.AddPort(Name, (IPortHost)opened!);

    private static PortSpec TakeBoth(PortSpec port, string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        return equals > 0 && equals < text.Length - 1
            ? port with { Name = text[..equals], Path = text[(equals + 1)..] }
            : throw new ConfigurationException("", $"'{text}' is no port", "give its name in the guest and the path of its socket, as in org.qemu.guest_agent.0=/tmp/agent.sock");
    }
}
