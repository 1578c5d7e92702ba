using Microsoft.Win32.SafeHandles;

namespace Yadokari.Shares;

/// <summary>The guest's open files, by file handle. Any thread.</summary>
/// <param name="maxOpen">The maximum number.</param>
internal sealed class OpenFiles(int maxOpen) : IDisposable
{
    private readonly Lock _lock = new(); // Innermost.
    private readonly Dictionary<ulong, (SafeFileHandle File, FolderListing? Listing)> _files = [];
    private ulong _last;

    /// <summary>Takes a file. 0, or an error; then it is closed.</summary>
    public int Add(SafeFileHandle file, FolderListing? listing, out ulong handle)
    {
        lock (_lock)
        {
            if (_files.Count < maxOpen)
            {
                handle = ++_last;
                _files.Add(handle, (file, listing));
                return 0;
            }
        }

        handle = 0;
        file.Dispose();
        return Error.TooManyOpen;
    }

    /// <summary>A file, to use. 0, or an error.</summary>
    public int Use(ulong handle, out Lease file) => Use(handle, out file, out _);

    /// <summary>The same, and what was read of it where it is a folder.</summary>
    public int Use(ulong handle, out Lease file, out FolderListing? listing)
    {
        lock (_lock)
        {
            if (_files.TryGetValue(handle, out (SafeFileHandle File, FolderListing? Listing) open))
            {
                file = new Lease(open.File, 0);
                listing = open.Listing;
                return 0;
            }
        }

        file = default;
        listing = null;
        return Error.BadHandle;
    }

    /// <summary>Closes one.</summary>
    public int Remove(ulong handle)
    {
        lock (_lock)
        {
            if (!_files.Remove(handle, out (SafeFileHandle File, FolderListing? Listing) open))
            {
                return Error.BadHandle;
            }

            open.File.Dispose();
            return 0;
        }
    }

    /// <summary>Closes all.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach ((SafeFileHandle file, _) in _files.Values)
            {
                file.Dispose();
            }

            _files.Clear();
        }
    }
}
