using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>The protocol of a host's socket.</summary>
public enum SocketKind
{
    /// <summary>TCP.</summary>
    Stream,

    /// <summary>UDP.</summary>
    Datagram,

    /// <summary>ICMP echo requests, whose identifier the kernel sets (icmp(7)); if the host does not allow them, a raw socket, which needs root.</summary>
    Echo,
}

/// <summary>
/// A non-blocking socket of the host that never throws: calls return a count, or a negated errno(3). .NET's sockets throw an exception for a
/// refused connection and complete on the thread pool, both too slow for a guest's packets.
/// One thread at a time.
/// </summary>
public sealed unsafe partial class HostSocket : IDisposable
{
    /// <summary>The call would block (EAGAIN).</summary>
    public const int Again = -Errno.WouldBlock;

    /// <summary>The connection is in progress (EINPROGRESS).</summary>
    public const int InProgress = -115;

    /// <summary>The connection was refused: no listener (ECONNREFUSED).</summary>
    public const int Refused = -111;

    /// <summary>Bytes of the longest address: <c>struct sockaddr_in6</c>.</summary>
    public const int AddressSize = 28;

    /// <summary>The family, its first 16 bits.</summary>
    public const int V6Family = 10;

    private const int CloseOnExec = 0x80000;
    private const int NonBlocking = 0x800;
    private const int NoSignal = 0x4000;
    private const int Inet = 2;
    private const int StreamType = 1;
    private const int DatagramType = 2;
    private const int RawType = 3;
    private const int IcmpProtocol = 1;
    private const int Icmp6Protocol = 58;
    private const int SocketLevel = 1;
    private const int ReuseAddress = 2;
    private const int LastError = 4;
    private const int LingerTime = 13;
    private const int TcpLevel = 6;
    private const int NoDelay = 1;
    private const int Ip6Level = 41;
    private const int Only6 = 26;
    private const int Interrupted = 4;

    private HostSocket(int descriptor, bool isRaw)
    {
        Descriptor = descriptor;
        IsRaw = isRaw;
    }

    /// <summary>For <see cref="Epoll.TryAdd"/>.</summary>
    public int Descriptor { get; private set; }

    /// <summary>Whether an <see cref="SocketKind.Echo"/> socket is raw: it receives all of the host's echo replies, with their IPv4 headers.</summary>
    public bool IsRaw { get; }

    /// <summary>Creates a socket. Null if the host refuses.</summary>
    public static HostSocket? Open(AddressFamily family, SocketKind kind)
    {
        bool six = family == AddressFamily.InterNetworkV6;
        int domain = six ? V6Family : Inet;
        int protocol = kind != SocketKind.Echo ? 0 : six ? Icmp6Protocol : IcmpProtocol;
        int descriptor = Socket(domain, (kind == SocketKind.Stream ? StreamType : DatagramType) | CloseOnExec | NonBlocking, protocol);
        bool raw = descriptor < 0 && kind == SocketKind.Echo;
        if (raw)
        {
            descriptor = Socket(domain, RawType | CloseOnExec | NonBlocking, protocol);
        }

        return descriptor < 0 ? null : new HostSocket(descriptor, raw);
    }

    /// <summary>Takes over a non-blocking descriptor (O_NONBLOCK).</summary>
    public static HostSocket Of(int descriptor) => new(descriptor, isRaw: false);

    /// <summary>Starts to connect; for datagrams, sets the destination. Returns 0, <see cref="InProgress"/> or an error.</summary>
    public int Connect(IPAddress address, int port)
    {
        byte* bytes = stackalloc byte[AddressSize];
        int length = Put(bytes, address, port);
        return Result(Connect(Descriptor, bytes, length)); // SAFETY: the kernel reads the address, which lives until the call returns.
    }

    /// <summary>Binds to an address.</summary>
    /// <param name="address">The address.</param>
    /// <param name="port">The port.</param>
    /// <param name="shared">Whether to set SO_REUSEADDR.</param>
    public int Bind(IPAddress address, int port, bool shared)
    {
        if (address.AddressFamily == AddressFamily.InterNetworkV6)
        {
            Set(Ip6Level, Only6, 1); // So that the same port of IPv4 stays free.
        }

        if (shared)
        {
            Set(SocketLevel, ReuseAddress, 1);
        }

        byte* bytes = stackalloc byte[AddressSize];
        int length = Put(bytes, address, port);
        return Result(Bind(Descriptor, bytes, length)); // SAFETY: as above.
    }

    /// <summary>Listens for connections.</summary>
    public int Listen() => Result(Listen(Descriptor, 128));

    /// <summary>Accepts a connection. Null if there is none.</summary>
    public HostSocket? Accept()
    {
        int descriptor = Accept(Descriptor, null, null, CloseOnExec | NonBlocking);
        return descriptor < 0 ? null : new HostSocket(descriptor, isRaw: false);
    }

    /// <summary>Sends. Returns the number of bytes sent, or an error.</summary>
    public int Send(ReadOnlySpan<byte> data)
    {
        // SAFETY: the kernel reads as many bytes as there are.
        fixed (byte* first = data)
        {
            return Result((int)Send(Descriptor, first, (nuint)data.Length, NoSignal));
        }
    }

    /// <summary>Receives. Returns the number of bytes received, 0 at the end of a stream, or an error.</summary>
    public int Receive(Span<byte> data)
    {
        // SAFETY: the kernel writes as many bytes as there is room for.
        fixed (byte* first = data)
        {
            return Result((int)Receive(Descriptor, first, (nuint)data.Length, 0));
        }
    }

    /// <summary>Receives a datagram with its sender's address. Returns the number of bytes, or an error.</summary>
    /// <param name="data">Receives the datagram.</param>
    /// <param name="from">Receives the sender's address: <c>struct sockaddr_in</c> or <c>sockaddr_in6</c>, for <see cref="SendTo"/>.</param>
    public int ReceiveFrom(Span<byte> data, Span<byte> from)
    {
        // SAFETY: the kernel writes as many bytes as there is room for, of both.
        fixed (byte* first = data, address = from)
        {
            int length = from.Length;
            return Result((int)ReceiveFrom(Descriptor, first, (nuint)data.Length, 0, address, &length));
        }
    }

    /// <summary>Sends a datagram to an address from <see cref="ReceiveFrom"/>.</summary>
    public int SendTo(ReadOnlySpan<byte> data, ReadOnlySpan<byte> to)
    {
        // SAFETY: the kernel reads as many bytes as there are, of both.
        fixed (byte* first = data, address = to)
        {
            return Result((int)SendTo(Descriptor, first, (nuint)data.Length, NoSignal, address, to[0] == V6Family ? AddressSize : 16));
        }
    }

    /// <summary>Shuts down the sending side: the peer sees the end of the stream.</summary>
    public void ShutdownSend() => _ = Shutdown(Descriptor, 1);

    /// <summary>Reads and clears the pending error (SO_ERROR): 0 or an error.</summary>
    public int TakeError()
    {
        int error = 0;
        int length = sizeof(int);
        _ = GetOption(Descriptor, SocketLevel, LastError, &error, &length); // SAFETY: four bytes, as the length says.
        return -error;
    }

    /// <summary>Disables Nagle's algorithm (TCP_NODELAY): the guest's TCP has delayed small segments already.</summary>
    public void DisableNagle() => Set(TcpLevel, NoDelay, 1);

    /// <summary>Closes with a RST (SO_LINGER of zero seconds).</summary>
    public void Abort()
    {
        long onAtOnce = 1; // struct linger: on, zero seconds.
        _ = SetOption(Descriptor, SocketLevel, LingerTime, &onAtOnce, sizeof(long)); // SAFETY: eight bytes, as the length says.
        Dispose();
    }

    /// <summary>Closes.</summary>
    public void Dispose()
    {
        if (Descriptor >= 0)
        {
            _ = Libc.Close(Descriptor);
            Descriptor = -1;
        }
    }

    private void Set(int level, int name, int value) => _ = SetOption(Descriptor, level, name, &value, sizeof(int)); // SAFETY: four bytes, as the length says.

    private static int Result(int value) => value >= 0 ? value : Marshal.GetLastPInvokeError() is int error && error == Interrupted ? Again : -error;

    private static int Put(byte* bytes, IPAddress address, int port)
    {
        // SAFETY: the caller's bytes are as many as the longest address takes.
        var all = new Span<byte>(bytes, AddressSize);
        all.Clear();
        bool six = address.AddressFamily == AddressFamily.InterNetworkV6;
        BinaryPrimitives.WriteUInt16LittleEndian(all, six ? (ushort)V6Family : (ushort)Inet);
        BinaryPrimitives.WriteUInt16BigEndian(all[2..], (ushort)port);
        address.TryWriteBytes(all[(six ? 8 : 4)..], out _);
        if (six)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(all[24..], (uint)address.ScopeId);
        }

        return six ? AddressSize : 16;
    }

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial int Socket(int domain, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "connect", SetLastError = true)]
    private static partial int Connect(int descriptor, byte* address, int length);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    private static partial int Bind(int descriptor, byte* address, int length);

    [LibraryImport("libc", EntryPoint = "listen", SetLastError = true)]
    private static partial int Listen(int descriptor, int backlog);

    [LibraryImport("libc", EntryPoint = "accept4", SetLastError = true)]
    private static partial int Accept(int descriptor, byte* address, int* length, int flags);

    [LibraryImport("libc", EntryPoint = "send", SetLastError = true)]
    private static partial nint Send(int descriptor, byte* data, nuint length, int flags);

    [LibraryImport("libc", EntryPoint = "recv", SetLastError = true)]
    private static partial nint Receive(int descriptor, byte* data, nuint length, int flags);

    [LibraryImport("libc", EntryPoint = "recvfrom", SetLastError = true)]
    private static partial nint ReceiveFrom(int descriptor, byte* data, nuint length, int flags, byte* address, int* addressLength);

    [LibraryImport("libc", EntryPoint = "sendto", SetLastError = true)]
    private static partial nint SendTo(int descriptor, byte* data, nuint length, int flags, byte* address, int addressLength);

    [LibraryImport("libc", EntryPoint = "shutdown", SetLastError = true)]
    private static partial int Shutdown(int descriptor, int how);

    [LibraryImport("libc", EntryPoint = "getsockopt", SetLastError = true)]
    private static partial int GetOption(int descriptor, int level, int name, void* value, int* length);

    [LibraryImport("libc", EntryPoint = "setsockopt", SetLastError = true)]
    private static partial int SetOption(int descriptor, int level, int name, void* value, int length);
}
