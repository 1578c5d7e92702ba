using System.Buffers.Binary;
using System.ComponentModel;
using System.Diagnostics;
using System.Net.Sockets;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;

namespace Yadokari.Networks;

/// <summary>
/// A network by passt, a program that is the network's other side for a user without rights (passt(1)): frames over a stream socket, each
/// behind its length, as QEMU's <c>-netdev stream</c> has them.
/// </summary>
public sealed class PasstNetwork : INetwork
{
    private const string Program = "passt";
    private const int LengthSize = 4;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly FrameQueue _queue = new();
    private readonly byte[] _outgoing = new byte[LengthSize + INetwork.MostBytes];
    private readonly byte[] _lost = new byte[INetwork.MostBytes];
    private readonly string _folder = Directory.CreateTempSubdirectory("yado-passt-").FullName;
    private readonly Process _process;
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly Thread _thread;

    /// <summary>Starts it.</summary>
    /// <param name="forwards">Ports of the host's that are the guest's.</param>
    /// <param name="hostLoopback">Whether the gateway's address stands for the host's loopback.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="UserErrorException">It is not there, or does not want to.</exception>
    public PasstNetwork(IReadOnlyList<PortForward> forwards, bool hostLoopback, Action<Exception>? failed = null)
    {
        try
        {
            _process = Start(forwards, hostLoopback);
        }
        catch
        {
            _socket.Dispose();
            Directory.Delete(_folder, recursive: true);
            throw;
        }

        _thread = HostThread.Start("network", Serve, failed);
    }

    /// <inheritdoc/>
    public int Mtu => 1500;

    /// <inheritdoc/>
    public NetworkOffloads Offloads => NetworkOffloads.None;

    /// <inheritdoc/>
    public NetworkOffloads Taken { get; set; }

    /// <inheritdoc/>
    public Action? Arrived { get; set; }

    /// <inheritdoc/>
    public void Send(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        BinaryPrimitives.WriteInt32BigEndian(_outgoing, frame.Length);
        frame.CopyTo(_outgoing.AsSpan(LengthSize));
        ReadOnlySpan<byte> rest = _outgoing.AsSpan(0, LengthSize + frame.Length);
        while (rest.Length > 0)
        {
            // It reads what comes as long as it lives; it is a process of ours.
            int sent = _socket.Send(rest, SocketFlags.None, out SocketError error);
            if (error != SocketError.Success)
            {
                return;
            }

            rest = rest[sent..];
        }
    }

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload) => _queue.TryPeek(out frame, out offload);

    /// <inheritdoc/>
    public void Release() => _queue.Release();

    /// <inheritdoc/>
    public void Reset() => _queue.Drain();

    /// <inheritdoc/>
    public void Dispose()
    {
        _socket.Shutdown(SocketShutdown.Both);
        _thread.Join();
        _socket.Dispose();
        if (!_process.WaitForExit(s_patience))
        {
            _process.Kill();
        }

        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private Process Start(IReadOnlyList<PortForward> forwards, bool hostLoopback)
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
            // It gives root's rights up, and is to make its socket all the same.
            start.ArgumentList.Add("--runas");
            start.ArgumentList.Add("0");
        }

        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (Win32Exception)
        {
            throw new UserErrorException("--net passt needs the program passt, which is not there: install the package passt, or leave --net out for a network that needs nothing.");
        }

        // Its word is worth something only if it gives up.
        var said = new List<string>();
        process.ErrorDataReceived += (_, line) => said.Add(line.Data ?? "");
        process.OutputDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        for (long end = Environment.TickCount64 + (long)s_patience.TotalMilliseconds; ;)
        {
            try
            {
                _socket.Connect(new UnixDomainSocketEndPoint(path));
                return process;
            }
            catch (SocketException) when (!process.HasExited && Environment.TickCount64 < end)
            {
                Thread.Sleep(5);
            }
            catch (SocketException)
            {
                process.Kill();
                process.WaitForExit();
                string why = said.LastOrDefault(line => line.Length > 0 && !line.StartsWith("Failed to send", StringComparison.Ordinal)) ?? "it does not say why";
                process.Dispose();
                throw new UserErrorException($"passt does not start ({why}): see to that, or leave --net out for a network that needs nothing.");
            }
        }
    }

    private void Serve()
    {
        byte[] head = new byte[LengthSize];
        while (TryReceive(head))
        {
            int length = BinaryPrimitives.ReadInt32BigEndian(head);
            if (length is < 0 or > INetwork.MostBytes)
            {
                return;
            }

            bool room = _queue.TryReserve(length, out Span<byte> frame);
            if (!TryReceive(room ? frame : _lost.AsSpan(0, length)))
            {
                return;
            }

            if (room && length > 0)
            {
                _queue.Put(length, default);
                Arrived?.Invoke();
            }
        }
    }

    private bool TryReceive(Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            int count = _socket.Receive(bytes, SocketFlags.None, out SocketError error);
            if (count <= 0 || error != SocketError.Success)
            {
                return false;
            }

            bytes = bytes[count..];
        }

        return true;
    }
}
