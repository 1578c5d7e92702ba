using System.Text;

namespace Yadokari.Linux;

/// <summary>Sockets that are names in the file system (unix(7)).</summary>
public sealed unsafe partial class HostSocket
{
    /// <summary>The longest name, in bytes.</summary>
    public const int MaxPathLength = 107;

    private const int Local = 1;

    /// <summary>Makes one, of a stream. Null where the host does not.</summary>
    public static HostSocket? OpenLocal()
    {
        int descriptor = Socket(Local, StreamType | CloseOnExec | NonBlocking, 0);
        return descriptor < 0 ? null : new HostSocket(descriptor, isRaw: false);
    }

    /// <summary>Connects to who listens at a name. 0 or an error; there is no waiting.</summary>
    public int ConnectLocal(string path)
    {
        byte* bytes = stackalloc byte[MaxPathLength + 3];
        int length = Put(bytes, path);
        return Result(Connect(Descriptor, bytes, length)); // SAFETY: the kernel reads the address, which lives until the call returns.
    }

    /// <summary>Takes a name, which must be free.</summary>
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
