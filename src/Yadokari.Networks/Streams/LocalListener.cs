using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Linux;

namespace Yadokari.Networks.Streams;

/// <summary>Listening Unix domain sockets by which programs of the host connect to the guest.</summary>
internal static class LocalListener
{
    /// <summary>Creates a listening socket. The caller deletes its file at the end.</summary>
    /// <param name="path">The socket's path.</param>
    /// <param name="epoll">Reports connections to the listener from now on.</param>
    /// <param name="token">The token of these events.</param>
    /// <exception cref="UserErrorException">The socket can't be created; no new file is left behind then.</exception>
    public static HostSocket Open(string path, Epoll epoll, ulong token)
    {
        HostSocket socket = Open(path);
        try
        {
            epoll.Add(socket.Descriptor, token, Readiness.Read);
            return socket;
        }
        catch
        {
            socket.Dispose();
            File.Delete(path);
            throw;
        }
    }

    private static HostSocket Open(string path)
    {
        if (Encoding.UTF8.GetByteCount(path) > HostSocket.MaxPathLength)
        {
            throw new ConfigurationException("/socket", $"The socket '{path}' has a name of more than {HostSocket.MaxPathLength} bytes", "give a shorter one");
        }

        // Serialized: of two processes that find a stale socket the second would delete the first's new one; and a bound socket that does not listen yet looks stale.
        using SafeFileHandle? alone = FileTree.TryLockFolder(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/");
        const int InUse = -98;
        HostSocket socket = HostSocket.OpenLocal() ?? throw new UserErrorException($"The socket '{path}' can't be created; raise the limit of open files (ulimit -n).");
        int error = socket.BindLocal(path);
        if (error == InUse && IsStale(path))
        {
            File.Delete(path);
            error = socket.BindLocal(path);
        }

        if (error == 0)
        {
            error = socket.Listen();
        }

        if (error == 0)
        {
            return socket;
        }

        socket.Dispose();
        throw error == InUse
            ? new ConfigurationException("/socket", $"The socket '{path}' can't be made, because a file of that name exists, or a machine uses it", "give another")
            : new ConfigurationException("/socket", $"The socket '{path}' can't be made ({Marshal.GetPInvokeErrorMessage(-error)})", "check the path and its permissions");
    }

    // Stale: its process was killed and no process listens (ECONNREFUSED). The kernel reports the same for a file that is no socket.
    private static bool IsStale(string path)
    {
        using HostSocket? socket = HostSocket.OpenLocal();
        return socket?.ConnectLocal(path) == HostSocket.Refused && IsSocket(path);
    }

    private static bool IsSocket(string path)
    {
        string full = Path.GetFullPath(path);
        if (FileTree.OpenFolder(Path.GetDirectoryName(full)!, out SafeFileHandle folder) != 0)
        {
            return false;
        }

        using (folder)
        {
            return FileStatus.Of(folder, [.. Encoding.UTF8.GetBytes(Path.GetFileName(full)), 0], out FileStatus status) == 0 && status.Type == FileTree.Socket;
        }
    }
}
