namespace Yadokari.Linux;

/// <summary>Error numbers (errno.h) that several assemblies use. .NET gives them as <see cref="Exception.HResult"/> of an <see cref="IOException"/>.</summary>
public static class Errno
{
    /// <summary>EAGAIN and EWOULDBLOCK: the call would block, as for a lock (flock(2)) that another process holds.</summary>
    public const int WouldBlock = 11;
}
