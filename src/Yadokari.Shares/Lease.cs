using Microsoft.Win32.SafeHandles;

namespace Yadokari.Shares;

/// <summary>A reference to an open file (DangerousAddRef): the descriptor is not closed while it is held, even if another thread disposes of the file.</summary>
internal readonly ref struct Lease : IDisposable
{
    private readonly SafeFileHandle? _file;
    private readonly bool _held;

    /// <summary>Acquires a reference to a file.</summary>
    public Lease(SafeFileHandle file, uint type)
    {
        (_file, Type) = (file, type);
        file.DangerousAddRef(ref _held);
    }

    /// <summary>The file. Only where the lease was had.</summary>
    public SafeFileHandle File => _file!;

    /// <summary>Its type, one of <see cref="Linux.FileTree"/>'s.</summary>
    public uint Type { get; }

    public void Dispose()
    {
        if (_held)
        {
            _file!.DangerousRelease();
        }
    }
}
