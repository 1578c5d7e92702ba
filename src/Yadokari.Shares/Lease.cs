using Microsoft.Win32.SafeHandles;

namespace Yadokari.Shares;

/// <summary>An open file that stays open while this is held, whoever closes it meanwhile.</summary>
internal readonly ref struct Lease : IDisposable
{
    private readonly SafeFileHandle? _file;
    private readonly bool _held;

    /// <summary>Takes a file that can't be closed just now.</summary>
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
