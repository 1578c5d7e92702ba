using System.Diagnostics;
using Yadokari.Core;
using Yadokari.Guests;

namespace Yadokari.Bench;

/// <summary>The host's end of a measured connection: iperf3, for one test.</summary>
internal sealed class NetworkPeer : IDisposable
{
    private readonly Process _process;

    private NetworkPeer(Process process, int port) => (_process, Port) = (process, port);

    /// <summary>The port on loopback that it listens on.</summary>
    public int Port { get; }

    /// <summary>Starts it.</summary>
    /// <exception cref="UserErrorException">iperf3 is not installed.</exception>
    public static NetworkPeer Start()
    {
        var port = HostPort.Free();
        try
        {
            var start = new ProcessStartInfo("iperf3", ["-s", "-1", "-p", $"{port}"]) { RedirectStandardOutput = true };
            return new NetworkPeer(Process.Start(start)!, port);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            throw new UserErrorException("iperf3 is not installed, and the network is measured by it; install it with: apt-get install --no-install-recommends iperf3, or name other workloads.");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_process.HasExited)
            _process.Kill();
        _process.Dispose();
    }
}
