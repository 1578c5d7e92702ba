using System.Net;
using Yadokari.Core;

namespace Yadokari.Networks.Tests;

public sealed class PasstTests
{
    [Fact]
    public void It_answers_and_is_not_root()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/passt"), "passt is not installed.");
        PasstNetwork network;
        try
        {
            network = new PasstNetwork([new PortForward(IPAddress.Loopback, FreePort(), 80, false)], hostLoopback: false);
        }
        catch (UserErrorException error)
        {
            Assert.Skip($"This host does not let passt run: {error.Message}");
            return;
        }

        using (network)
        {
            string[] owners = File.ReadLines($"/proc/{network.ProcessId}/status").First(line => line.StartsWith("Uid:", StringComparison.Ordinal)).Split('\t')[1..];
            Assert.DoesNotContain("0", owners);
            Assert.Single(owners.Distinct());

            using var arrived = new AutoResetEvent(false);
            network.Arrived = () => arrived.Set();
            network.Send(Discover(), default);
            ReadOnlySpan<byte> frame;
            while (!network.TryPeek(out frame, out _))
            {
                Assert.True(arrived.WaitOne(TimeSpan.FromSeconds(60)));
            }

            Assert.Equal("\0C\0D"u8, frame[34..38]); // From port 67 to 68.
        }
    }

    // RFC 2131, 3.1: DHCPDISCOVER.
    private static byte[] Discover()
    {
        byte[] mac = [2, 0, 0, 0, 0, 7];
        byte[] bootp = [1, 1, 6, 0, 1, 2, 3, 4, .. new byte[20], .. mac, .. new byte[202], 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255];
        byte[] udp = [0, 68, 0, 67, 0, 0, 0, 0, .. bootp];
        (udp[4], udp[5]) = ((byte)(udp.Length >> 8), (byte)udp.Length);
        byte[] ip = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
        int total = ip.Length + udp.Length;
        (ip[2], ip[3]) = ((byte)(total >> 8), (byte)total);
        int sum = 0;
        for (int i = 0; i < ip.Length; i += 2)
        {
            sum += (ip[i] << 8) + ip[i + 1];
        }

        sum = ~((sum & 0xFFFF) + (sum >> 16));
        (ip[10], ip[11]) = ((byte)(sum >> 8), (byte)sum);
        return [255, 255, 255, 255, 255, 255, .. mac, 8, 0, .. ip, .. udp];
    }

    private static int FreePort()
    {
        using var listener = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
