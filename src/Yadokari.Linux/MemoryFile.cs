using System.Runtime.InteropServices;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Memory;

namespace Yadokari.Linux;

/// <summary>Anonymous memory behind a file descriptor (memfd_create(2)), which can be mapped more than once with different rights.</summary>
public sealed class MemoryFile : IMemoryBacking
{
    // MADV_DONTNEED of linux/mman.h; of a shared mapping it drops the page tables only.
    private const int DontNeed = 4;

    private readonly List<(nint Address, nuint Length)> _mappings = [];
    private int _descriptor;

    /// <summary>Creates a memory file; the host allocates a page at its first access.</summary>
    /// <param name="name">Shown in /proc/self/maps.</param>
    /// <param name="length">Bytes; a multiple of 4096.</param>
    public MemoryFile(string name, long length)
    {
        const uint CloseOnExec = 1;
        _descriptor = Libc.MemfdCreate(name, CloseOnExec);
        if (_descriptor < 0 || Libc.Ftruncate(_descriptor, length) != 0)
        {
            string why = Marshal.GetLastPInvokeErrorMessage();
            Dispose();
            throw new ConfigurationException("/memory", $"{length >> 20} MiB of memory could not be had from the host ({why})", $"give the machine less with {{/memory}}");
        }
    }

    /// <summary>The file descriptor, open as long as this object; for processes that map the file too.</summary>
    public int Descriptor => _descriptor;

    /// <summary>The offset in the file of an address in its first mapping.</summary>
    public long OffsetOf(nint address) => address - _mappings[0].Address;

    /// <summary>Maps a part of the file for reading and writing, or for reading and executing, anywhere or at an address reserved before.</summary>
    public nint Map(long offset, long length, bool executable, nint at = 0)
    {
        int protection = Libc.ProtRead | (executable ? Libc.ProtExec : Libc.ProtWrite);
        int flags = Libc.MapShared | Libc.MapNoReserve | (at != 0 ? Libc.MapFixed : 0);
        nint address = Libc.Mmap(at, (nuint)length, protection, flags, _descriptor, offset);
        if (address == Libc.MapFailed)
        {
            throw new ConfigurationException(
                "/memory",
                $"{length >> 20} MiB of memory could not be mapped{(executable ? " for execution" : "")} ({Marshal.GetLastPInvokeErrorMessage()})",
                "give the machine less, or lift the limit of address space (ulimit -v)");
        }

        _mappings.Add((address, (nuint)length));
        return address;
    }

    /// <summary>Reserves address space without memory, to map into later.</summary>
    public static nint Reserve(long length)
    {
        nint address = Libc.Mmap(0, (nuint)length, Libc.ProtNone, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve, -1, 0);
        return address != Libc.MapFailed ? address
            : throw new UserErrorException($"{length >> 20} MiB of address space could not be reserved ({Marshal.GetLastPInvokeErrorMessage()}); lift the limit of address space (ulimit -v)");
    }

    /// <summary>
    /// Removes a range of a mapping from the process's resident memory until the next access. The file's content is kept: it is in memory once, but
    /// counted for each mapping that has accessed it.
    /// </summary>
    public static void Withdraw(nint address, long length) => _ = Libc.Madvise(address, (nuint)length, DontNeed);

    /// <inheritdoc/>
    public bool TryDiscard(nint host, long length) => FileRange.TryPunch(_descriptor, OffsetOf(host), length);

    /// <summary>Unmaps everything and closes the file.</summary>
    public void Dispose()
    {
        foreach ((nint address, nuint length) in _mappings)
        {
            _ = Libc.Munmap(address, length);
        }

        _mappings.Clear();
        if (_descriptor >= 0)
        {
            _ = Libc.Close(_descriptor);
            _descriptor = -1;
        }
    }
}
