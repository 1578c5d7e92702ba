namespace Yadokari.Linux;

/// <summary>Numbers of errors (errno.h) that more than one room asks for. .NET gives them as <see cref="Exception.HResult"/> of an <see cref="IOException"/>.</summary>
public static class Errno
{
    /// <summary>Nothing to be done now: EAGAIN and EWOULDBLOCK, as for a lock (flock(2)) that another has.</summary>
    public const int WouldBlock = 11;
}
