using System.Runtime.InteropServices;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Memory;
using Yadokari.Core.Networks;

namespace Yadokari.Linux;

/// <summary>
/// A TAP device, with an offload header before each frame (Linux's Documentation/networking/tuntap; include/uapi/linux/if_tun.h). Reading and
/// writing do not block; one thread reads, one writes.
/// </summary>
public sealed unsafe partial class TapDevice : IDisposable
{
    private const string Path = "/dev/net/tun";
    private const int MaxName = 15;
    private const int ReadWrite = 2;
    private const int CloseOnExec = 0x80000;
    private const int NonBlocking = 0x800;
    private const nuint SetInterface = 0x400454CA;
    private const nuint SetOffloads = 0x400454D0;
    private const ushort IsTap = 2;
    private const ushort NoPacketInformation = 0x1000;
    private const ushort OffloadHeader = 0x4000;
    private const int NotPermitted = 1;
    private const int Busy = 16;

    /// <summary><c>struct ifreq</c> of linux/if.h, with only the members used here.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 40)]
    private struct InterfaceRequest
    {
        public fixed byte Name[MaxName + 1];
        public ushort Flags;
    }

    private TapDevice(int descriptor) => Descriptor = descriptor;

    /// <summary>For <see cref="Epoll.TryAdd"/>.</summary>
    public int Descriptor { get; private set; }

    /// <summary>Opens a TAP device, and creates it if there is none of that name.</summary>
    /// <exception cref="UserErrorException">The host does not allow it.</exception>
    public static TapDevice Open(string name)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        if (bytes.Length is 0 or > MaxName)
        {
            throw new ConfigurationException("/tap", $"'{name}' is not a valid name of a device", $"give one of 1 to {MaxName} letters");
        }

        int descriptor = OpenFile(Path, ReadWrite | CloseOnExec | NonBlocking);
        if (descriptor < 0)
        {
            throw new ConfigurationException("/tap", $"The TAP device '{name}' needs {Path}, which can't be opened ({Marshal.GetLastPInvokeErrorMessage()})", $"be root, or leave it out for a network that needs no rights");
        }

        var request = new InterfaceRequest { Flags = IsTap | NoPacketInformation | OffloadHeader };
        bytes.CopyTo(new Span<byte>(request.Name, MaxName)); // SAFETY: a field of the local above, of one byte more.
        if (Control(descriptor, SetInterface, &request) != 0)
        {
            // SAFETY (above): the kernel reads and writes a struct ifreq, which it is as long as.
            int error = Marshal.GetLastPInvokeError();
            _ = Libc.Close(descriptor);
            (string problem, string remedy) = error switch
            {
                NotPermitted => ("is not allowed to this user", $"be root, or have root make the device with 'ip tuntap add dev {name} mode tap user {Environment.UserName}'"),
                Busy => ("is in use by another machine", "give another device, or end that machine"),
                _ => ($"can't be opened ({Marshal.GetLastPInvokeErrorMessage()})", "give the name of a TAP device"),
            };
            throw new ConfigurationException("/tap", $"The TAP device '{name}' {problem}", remedy);
        }

        return new TapDevice(descriptor);
    }

    /// <summary>Sets the offloads of frames that are read (TUNSETOFFLOAD). False if the kernel does not support them.</summary>
    public bool TrySetOffloads(NetworkOffloads offloads)
    {
        // TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6
        nuint flags = (offloads & NetworkOffloads.Checksum) == 0 ? 0
            : 1u | ((offloads & NetworkOffloads.Tcp4) != 0 ? 2u : 0) | ((offloads & NetworkOffloads.Tcp6) != 0 ? 4u : 0);
        return Control(Descriptor, SetOffloads, (void*)flags) == 0; // SAFETY: here the argument is the flags themselves.
    }

    /// <summary>Reads a frame. Its length, or 0 if there is none.</summary>
    public int Read(Span<byte> frame, out FrameOffload offload)
    {
        FrameOffload header = default;
        nint count;

        // SAFETY: the kernel writes no more than the two pieces have room for.
        fixed (byte* first = frame)
        {
            HostBuffer* pieces = stackalloc HostBuffer[2];
            pieces[0] = new HostBuffer((nint)(&header), FrameOffload.Size);
            pieces[1] = new HostBuffer((nint)first, frame.Length);
            count = Readv(Descriptor, pieces, 2);
        }

        offload = header;
        return (int)Math.Max(0, count - FrameOffload.Size);
    }

    /// <summary>Writes a frame; it is dropped if the host's queue is full.</summary>
    public void Write(ReadOnlySpan<byte> frame, FrameOffload offload)
    {
        // SAFETY: the kernel reads no more than the two pieces have.
        fixed (byte* first = frame)
        {
            HostBuffer* pieces = stackalloc HostBuffer[2];
            pieces[0] = new HostBuffer((nint)(&offload), FrameOffload.Size);
            pieces[1] = new HostBuffer((nint)first, frame.Length);
            _ = Writev(Descriptor, pieces, 2);
        }
    }

    /// <summary>Closes it; a device that was created here is removed.</summary>
    public void Dispose()
    {
        if (Descriptor >= 0)
        {
            _ = Libc.Close(Descriptor);
            Descriptor = -1;
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(int descriptor, nuint request, void* argument);

    [LibraryImport("libc", EntryPoint = "readv", SetLastError = true)]
    private static partial nint Readv(int descriptor, HostBuffer* pieces, int count);

    [LibraryImport("libc", EntryPoint = "writev", SetLastError = true)]
    private static partial nint Writev(int descriptor, HostBuffer* pieces, int count);
}
