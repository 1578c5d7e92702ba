using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Yadokari.Linux;

/// <summary>Holes and zero ranges of a file (fallocate(2)). False if the file system does not support the operation.</summary>
public static unsafe partial class FileRange
{
    // linux/falloc.h
    private const int KeepSize = 1;
    private const int PunchHole = 2;
    private const int ZeroRange = 16;

    // linux/fs.h
    private const int SeekData = 3;
    private const int NothingThere = 6; // ENXIO

    // asm/unistd_64.h, asm/stat.h
    private const nint Status = 5;
    private const int StatusSize = 144;
    private const int StatusBlocks = 64;

    /// <summary>Punches a hole: deallocates a range, which then reads as zeroes.</summary>
    public static bool TryPunch(SafeFileHandle file, long offset, long length) => Allocate(file, PunchHole | KeepSize, offset, length) == 0;

    /// <summary>Zeroes a range without deallocating it.</summary>
    public static bool TryZero(SafeFileHandle file, long offset, long length) => Allocate(file, ZeroRange | KeepSize, offset, length) == 0;

    /// <summary>How many bytes from an offset on, within the file, lie in a hole.</summary>
    public static long Hole(SafeFileHandle file, long offset, long length)
    {
        long data = Seek(file, offset, SeekData);
        return data >= 0 ? data - offset : Marshal.GetLastPInvokeError() == NothingThere ? length - offset : 0;
    }

    /// <summary>Bytes allocated for a file on the host's disk; 0 if unknown.</summary>
    public static long Allocated(SafeFileHandle file)
    {
        byte* status = stackalloc byte[StatusSize];

        // SAFETY: the kernel writes one struct stat there.
        return Libc.Syscall(Status, file.DangerousGetHandle(), (nint)status) == 0 ? *(long*)(status + StatusBlocks) * 512 : 0;
    }

    internal static bool TryPunch(int descriptor, long offset, long length) => Allocate(descriptor, PunchHole | KeepSize, offset, length) == 0;

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Allocate(int descriptor, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long Seek(SafeFileHandle file, long offset, int whence);
}
