using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>Moves a process to the background (daemon(7)).</summary>
public static partial class Daemon
{
    private const int ReadOnly = 0;
    private const int AppendCreate = 0x1 | 0x40 | 0x400; // O_WRONLY | O_CREAT | O_APPEND, asm-generic/fcntl.h
    private const int OwnerOnly = 0x180;

    /// <summary>Creates a session for this process: it gets no signals when the terminal is closed.</summary>
    public static void BeginSession() => _ = SetSession();

    /// <summary>Redirects standard input to an empty file, and standard output and error to the end of a file. Leaves them unchanged if that fails.</summary>
    public static void Detach(string path)
    {
        int nothing = Open("/dev/null", ReadOnly, 0);
        int log = Open(path, AppendCreate, OwnerOnly);
        if (nothing >= 0)
        {
            _ = Duplicate(nothing, 0);
            _ = Libc.Close(nothing);
        }

        if (log >= 0)
        {
            _ = Duplicate(log, 1);
            _ = Duplicate(log, 2);
            _ = Libc.Close(log);
        }
    }

    [LibraryImport("libc", EntryPoint = "setsid")]
    private static partial int SetSession();

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "dup2")]
    private static partial int Duplicate(int from, int to);
}
