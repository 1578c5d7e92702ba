using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Yadokari.Linux;

/// <summary>
/// A pidfd: refers to one process, never to a later one with the same ID (pidfd_open(2), Linux 5.3). Any thread, also while another disposes of it.
/// </summary>
public sealed partial class ProcessHandle : IDisposable
{
    private const int OpenNumber = 434; // asm/unistd_64.h
    private const int SendNumber = 424;

    private readonly SafeFileHandle _descriptor;

    private ProcessHandle(SafeFileHandle descriptor) => _descriptor = descriptor;

    /// <summary>The process that has a number now. Null where there is none, or the host does not let it be had.</summary>
    public static ProcessHandle? TryOpen(int process)
    {
        nint descriptor = process > 0 ? Libc.Syscall(OpenNumber, process, 0) : -1;
        return descriptor < 0 ? null : new ProcessHandle(new SafeFileHandle(descriptor, ownsHandle: true));
    }

    /// <summary>The process that has a number, if it is one that holds a lock on a file (flock(2)); else null.</summary>
    /// <param name="process">The number.</param>
    /// <param name="path">The file.</param>
    public static ProcessHandle? TryOpenHolder(int process, string path)
    {
        // Whatever has the number once this is open, signals go to the process that had it before: it is enough to look afterwards.
        ProcessHandle? handle = TryOpen(process);
        if (handle is not null && Holds(process, path))
        {
            return handle;
        }

        handle?.Dispose();
        return null;
    }

    /// <summary>Sends a signal. False where it has ended, was disposed of, or is another user's.</summary>
    public bool TrySignal(int signal)
    {
        bool held = false;
        try
        {
            _descriptor.DangerousAddRef(ref held);
            return Send(SendNumber, _descriptor.DangerousGetHandle(), signal, 0, 0) == 0;
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
        finally
        {
            if (held)
            {
                _descriptor.DangerousRelease();
            }
        }
    }

    /// <summary>Ends it at once (SIGKILL). False as with <see cref="TrySignal"/>.</summary>
    public bool TryKill() => TrySignal(9);

    /// <inheritdoc/>
    public void Dispose() => _descriptor.Dispose();

    // An open file that is locked says so (proc_pid_fdinfo(5)).
    private static bool Holds(int process, string path)
    {
        string full = Path.GetFullPath(path);
        int error = FileTree.OpenFolder(Path.GetDirectoryName(full)!, out SafeFileHandle folder);
        using (folder)
        {
            try
            {
                string name = $"{new FileInfo($"/proc/self/fd/{folder.DangerousGetHandle()}").LinkTarget}/{Path.GetFileName(full)}"; // As the kernel writes it.
                return error == 0 && Directory.EnumerateFiles($"/proc/{process}/fd").Any(file => new FileInfo(file).LinkTarget == name
                    && File.ReadLines($"/proc/{process}/fdinfo/{Path.GetFileName(file)}").Any(line => line.StartsWith("lock:", StringComparison.Ordinal)));
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                return false;
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Send(nint number, nint process, nint signal, nint information, nint flags);
}
