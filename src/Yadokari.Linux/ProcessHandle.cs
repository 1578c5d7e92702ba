using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Yadokari.Linux;

/// <summary>
/// A pidfd: refers to one process, never to a later one with the same id (pidfd_open(2), Linux 5.3). Any thread, also while another disposes of it.
/// </summary>
public sealed partial class ProcessHandle : IDisposable
{
    private const int OpenNumber = 434; // asm/unistd_64.h
    private const int SendNumber = 424;

    private readonly SafeFileHandle _descriptor;

    private ProcessHandle(SafeFileHandle descriptor) => _descriptor = descriptor;

    /// <summary>Opens the process with an id. Null if there is none, or the host refuses.</summary>
    public static ProcessHandle? TryOpen(int process)
    {
        nint descriptor = process > 0 ? Libc.Syscall(OpenNumber, process, 0) : -1;
        return descriptor < 0 ? null : new ProcessHandle(new SafeFileHandle(descriptor, ownsHandle: true));
    }

    /// <summary>Opens the process with an id if it holds a lock on a file (flock(2)); otherwise null.</summary>
    /// <param name="process">The process id.</param>
    /// <param name="path">The file.</param>
    public static ProcessHandle? TryOpenHolder(int process, string path)
    {
        // The handle keeps referring to this process even if its id is reused, so it is enough to check the lock after opening.
        ProcessHandle? handle = TryOpen(process);
        if (handle is not null && Holds(process, path))
        {
            return handle;
        }

        handle?.Dispose();
        return null;
    }

    /// <summary>Sends a signal. False if the process has ended or is another user's, or this was disposed of.</summary>
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

    /// <summary>Kills the process (SIGKILL). False as with <see cref="TrySignal"/>.</summary>
    public bool TryKill() => TrySignal(9);

    /// <inheritdoc/>
    public void Dispose() => _descriptor.Dispose();

    // fdinfo lists the locks of an open file (proc_pid_fdinfo(5)).
    private static bool Holds(int process, string path)
    {
        string full = Path.GetFullPath(path);
        int error = FileTree.OpenFolder(Path.GetDirectoryName(full)!, out SafeFileHandle folder);
        using (folder)
        {
            try
            {
                string name = $"{new FileInfo($"/proc/self/fd/{folder.DangerousGetHandle()}").LinkTarget}/{Path.GetFileName(full)}"; // The path in the kernel's form.
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
