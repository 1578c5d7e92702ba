using System.ComponentModel;
using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Linux;

namespace Yadokari.Networks;

/// <summary>
/// A user-mode network by the program passt (passt(1)), connected by a <see cref="FrameStream"/>.
/// </summary>
public sealed class PasstNetwork : INetwork
{
    private const string Program = "passt";
    private const uint Nobody = 65534; // The user that passt runs as if this process is root: it parses untrusted packets, and needs no privileges.
    private static readonly TimeSpan s_timeout = TimeSpan.FromSeconds(30);

    private readonly string _folder = Directory.CreateTempSubdirectory("yado-passt-").FullName;
    private readonly Process _process;
    private readonly FrameStream _frames;

    /// <summary>Starts passt and connects to it.</summary>
    /// <param name="forwards">Ports of the host that are forwarded to the guest.</param>
    /// <param name="hostLoopback">Whether the gateway's address is mapped to the host's loopback.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="UserErrorException">passt is not installed, or did not start.</exception>
    public PasstNetwork(IReadOnlyList<PortForward> forwards, bool hostLoopback, Action<Exception>? failed = null)
    {
        try
        {
            (_process, HostSocket socket) = Start(forwards, hostLoopback);
            _frames = new FrameStream(socket, failed);
        }
        catch
        {
            Directory.Delete(_folder, recursive: true);
            throw;
        }
    }

    /// <summary>passt's process ID.</summary>
    internal int ProcessId => _process.Id;

    /// <inheritdoc/>
    public int Mtu => 1500;

    /// <inheritdoc/>
    public NetworkOffloads Offloads => NetworkOffloads.None;

    /// <inheritdoc/>
    public NetworkOffloads GuestOffloads { get; set; }

    /// <inheritdoc/>
    public Action? Arrived
    {
        get => _frames.Arrived;
        set => _frames.Arrived = value;
    }

    /// <inheritdoc/>
    public void Send(ReadOnlySpan<byte> frame, in FrameOffload offload) => _frames.Send(frame);

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload) => _frames.Queue.TryPeek(out frame, out offload);

    /// <inheritdoc/>
    public void Release() => _frames.Queue.Release();

    /// <inheritdoc/>
    public void Reset() => _frames.Queue.Drain();

    /// <inheritdoc/>
    public void Dispose()
    {
        _frames.Dispose();
        if (!_process.WaitForExit(s_timeout))
        {
            _process.Kill();
        }

        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private (Process Process, HostSocket Socket) Start(IReadOnlyList<PortForward> forwards, bool hostLoopback)
    {
        string path = Path.Combine(_folder, "socket");
        var start = new ProcessStartInfo(Program) { RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (string argument in (string[])["--foreground", "--one-off", "--stderr", "--quiet", "--mtu", "1500", "--socket", path])
        {
            start.ArgumentList.Add(argument);
        }

        if (!hostLoopback)
        {
            start.ArgumentList.Add("--no-map-gw");
        }

        foreach (PortForward forward in forwards)
        {
            start.ArgumentList.Add(forward.IsUdp ? "--udp-ports" : "--tcp-ports");
            start.ArgumentList.Add($"{forward.Address}/{forward.HostPort}:{forward.GuestPort}");
        }

        if (Environment.IsPrivilegedProcess)
        {
            // passt changes to that user before it creates its socket.
            start.ArgumentList.Add("--runas");
            start.ArgumentList.Add($"{Nobody}:{Nobody}");
            FileTree.OpenFolder(_folder, out SafeFileHandle folder);
            using (folder)
            {
                FileTree.ChangeOwner(folder, Nobody, Nobody);
            }
        }

        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (Win32Exception)
        {
            throw new ConfigurationException("", "A network of the kind passt needs the program passt, which is not there", "install the package passt, or take a network of the kind user, which needs nothing");
        }

        // passt's output is shown only if it fails.
        var said = new List<string>();
        process.ErrorDataReceived += (_, line) => said.Add(line.Data ?? "");
        process.OutputDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        HostSocket? socket = HostSocket.OpenLocal();
        long end = Environment.TickCount64 + (long)s_timeout.TotalMilliseconds;
        while (socket is not null && !process.HasExited && Environment.TickCount64 < end)
        {
            if (socket.ConnectLocal(path) == 0)
            {
                return (process, socket);
            }

            Thread.Sleep(5);
        }

        socket?.Dispose();
        process.Kill();
        process.WaitForExit();
        process.Dispose();
        string why = said.LastOrDefault(line => line.Length > 0 && !line.StartsWith("Failed to send", StringComparison.Ordinal)) ?? "it does not say why";
        throw new ConfigurationException("", $"passt does not start ({why})", "fix that, or take a network of the kind user, which needs nothing");
    }
}
