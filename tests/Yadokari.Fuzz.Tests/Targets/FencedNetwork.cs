using System.Buffers.Binary;
using Yadokari.Core.Networks;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>
/// Before a network that passes packets on: whatever a guest sends, nothing leaves this test. What would go elsewhere goes to an address that
/// nobody has, and what is for the host's loopback goes to the test's own ports.
/// </summary>
/// <param name="network">The network; disposed of with this.</param>
/// <param name="tcpPort">Where connections to the gateway go.</param>
/// <param name="udpPort">Where datagrams to the gateway go.</param>
internal sealed class FencedNetwork(INetwork network, int tcpPort, int udpPort) : INetwork
{
    private const int Ethernet = 14;
    private const byte Tcp = 6;
    private const byte Udp = 17;
    private const ushort Dhcp = 67;
    private static readonly byte[] s_own6 = [0xFD, 0x79, 0x61, 0x64, 0x6F, 0, 0, 0];

    public int Mtu => network.Mtu;

    public NetworkOffloads Offloads => network.Offloads;

    public NetworkOffloads GuestOffloads { get => network.GuestOffloads; set => network.GuestOffloads = value; }

    public Action? Arrived { get => network.Arrived; set => network.Arrived = value; }

    public void Send(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        byte[] fenced = frame.ToArray();
        ushort type = fenced.Length < Ethernet ? (ushort)0 : BinaryPrimitives.ReadUInt16BigEndian(fenced.AsSpan(12));
        if (type == 0x0800 && fenced.Length >= Ethernet + 20)
        {
            Fence4(fenced.AsSpan(Ethernet));
        }
        else if (type == 0x86DD && fenced.Length >= Ethernet + 40)
        {
            Fence6(fenced.AsSpan(Ethernet));
        }

        network.Send(fenced, offload);
    }

    public void Flush() => network.Flush();

    public bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload) => network.TryPeek(out frame, out offload);

    public void Release() => network.Release();

    public void Reset() => network.Reset();

    public void Dispose() => network.Dispose();

    private void Fence4(Span<byte> packet)
    {
        Span<byte> to = packet[16..20];
        bool own = to[0] == 10 && to[1] == 0 && to[2] == 2;
        bool refused = to[0] is 0 or 127 or >= 224 || (to[0] == 169 && to[1] == 254);
        bool isFragment = (BinaryPrimitives.ReadUInt16BigEndian(packet[6..]) & 0x3FFF) != 0;
        if ((!own && !refused) || (own && to[3] is 2 or 3 && isFragment))
        {
            to[0] = 10;
            to[1] = 0;
            to[2] = 2;
            to[3] = 200;
        }
        else if (own && to[3] is 2 or 3)
        {
            FencePort(packet[9], packet[Math.Min(packet.Length, (packet[0] & 15) * 4)..]);
        }
    }

    private void Fence6(Span<byte> packet)
    {
        Span<byte> to = packet[24..40];
        bool own = to.StartsWith(s_own6);
        bool refused = to[0] == 0xFF || (to[0] == 0xFE && (to[1] & 0xC0) == 0x80);
        if ((!own && !refused) || (own && packet[6] is not (Tcp or Udp)))
        {
            s_own6.CopyTo(to);
            to[8..].Fill(0x99);
        }
        else if (own)
        {
            FencePort(packet[6], packet[40..]);
        }
    }

    private void FencePort(byte protocol, Span<byte> body)
    {
        if (body.Length >= 4 && protocol is Tcp or Udp && BinaryPrimitives.ReadUInt16BigEndian(body[2..]) != Dhcp)
        {
            BinaryPrimitives.WriteUInt16BigEndian(body[2..], (ushort)(protocol == Tcp ? tcpPort : udpPort));
        }
    }
}
