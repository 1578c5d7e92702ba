using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Linux;

namespace Yadokari.Networks.Streams;

/// <summary>Sockets in the file system at which programs of the host's ask for the guest.</summary>
internal static class LocalListener
{
    /// <summary>Makes one. Its name goes when who asked for it deletes the file.</summary>
    /// <param name="path">The name.</param>
    /// <param name="epoll">Waits for those that ask, too, from now on.</param>
    /// <param name="token">What it tells of them by.</param>
    /// <exception cref="UserErrorException">It can't be made; there is no file of that name then that was not there.</exception>
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
        if (Encoding.UTF8.GetByteCount(path) > HostSocket.LongestPath)
        {
            throw new ConfigurationException("/socket", $"The socket '{path}' has a name of more than {HostSocket.LongestPath} bytes", "give a shorter one");
        }

        // Of two that find one left behind the second would delete the first's; and one that has its name and does not listen yet looks left behind.
        using SafeFileHandle? alone = FileTree.TryLockFolder(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/");
        const int InUse = -98;
        HostSocket socket = HostSocket.OpenLocal() ?? throw new UserErrorException($"The socket '{path}' can't be made, for the host gives none; lift the limit of open files (ulimit -n).");
        int error = socket.BindLocal(path);
        if (error == InUse && IsLeftBehind(path))
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
            ? new ConfigurationException("/socket", $"The socket '{path}' can't be made, for there is a file of that name, or a machine that uses it", "give another")
            : new ConfigurationException("/socket", $"The socket '{path}' can't be made ({Marshal.GetPInvokeErrorMessage(-error)})", "check the path and its permissions");
    }

    // By one who was killed: then nobody listens. Of a file that is no socket the kernel says the same.
    private static bool IsLeftBehind(string path)
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
