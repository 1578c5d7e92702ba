using System.Text;

namespace Yadokari.Linux;

/// <summary>Unix domain sockets (unix(7)).</summary>
public sealed unsafe partial class HostSocket
{
    /// <summary>The maximum length of a path, in bytes.</summary>
    public const int MaxPathLength = 107;

    private const int Local = 1;

    /// <summary>Creates a stream socket. Null if the host refuses.</summary>
    public static HostSocket? OpenLocal()
    {
        int descriptor = Socket(Local, StreamType | CloseOnExec | NonBlocking, 0);
        return descriptor < 0 ? null : new HostSocket(descriptor, isRaw: false);
    }

    /// <summary>Connects to the listener at a path. 0 or an error; does not block.</summary>
    public int ConnectLocal(string path)
    {
        byte* bytes = stackalloc byte[MaxPathLength + 3];
        int length = Put(bytes, path);
        return Result(Connect(Descriptor, bytes, length)); // SAFETY: the kernel reads the address, which lives until the call returns.
    }

    /// <summary>Binds to a path, which must not exist.</summary>
    public int BindLocal(string path)
    {
        byte* bytes = stackalloc byte[MaxPathLength + 3];
        int length = Put(bytes, path);
        return Result(Bind(Descriptor, bytes, length)); // SAFETY: as above.
    }

    // struct sockaddr_un: family, name, NUL.
    private static int Put(byte* bytes, string path)
    {
        // SAFETY: the caller's bytes are as many as that; a longer name is refused by the encoder.
        var all = new Span<byte>(bytes, MaxPathLength + 3);
        all.Clear();
        all[0] = Local;
        return 2 + Encoding.UTF8.GetBytes(path, all.Slice(2, MaxPathLength)) + 1;
    }
}
