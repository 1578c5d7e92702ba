using System.Text;

namespace Yadokari.Core.Files;

/// <summary>
/// Writes a cpio archive in the "new ASCII" format, the one that Linux unpacks as its initial RAM disk
/// (Documentation/driver-api/early-userspace/buffer-format.rst). Everything belongs to root and carries no time, so that the same
/// content gives the same bytes; device nodes need no privilege, for they are only entries. Paths have no leading slash; folders above an
/// entry that are missing are added with mode 0755.
/// </summary>
/// <param name="output">Receives the archive. Not owned.</param>
public sealed class CpioWriter(Stream output)
{
    private const uint DirectoryType = 0x4000;
    private const uint CharacterDeviceType = 0x2000;
    private const uint FileType = 0x8000;
    private const uint SymbolicLinkType = 0xA000;

    private readonly HashSet<string> _paths = new(StringComparer.Ordinal);
    private uint _inode;

    /// <summary>Whether there is an entry of this path.</summary>
    public bool Contains(string path) => _paths.Contains(path);

    /// <summary>Adds a folder. One that is there already stays as it is.</summary>
    public void AddDirectory(string path, uint permissions = 0x1ED)
    {
        if (!_paths.Contains(path))
        {
            Add(path, DirectoryType | permissions, 2, 0, 0, []);
        }
    }

    /// <summary>Adds a file.</summary>
    /// <exception cref="ArgumentException">There is an entry of this path.</exception>
    public void AddFile(string path, uint permissions, ReadOnlySpan<byte> content) => Add(path, FileType | permissions, 1, 0, 0, content);

    /// <summary>Adds a symbolic link.</summary>
    /// <exception cref="ArgumentException">There is an entry of this path.</exception>
    public void AddSymbolicLink(string path, string target) => Add(path, SymbolicLinkType | 0x1FF, 1, 0, 0, Encoding.UTF8.GetBytes(target));

    /// <summary>Adds a character device.</summary>
    /// <exception cref="ArgumentException">There is an entry of this path.</exception>
    public void AddCharacterDevice(string path, uint permissions, uint major, uint minor) =>
        Add(path, CharacterDeviceType | permissions, 1, major, minor, []);

    /// <summary>Ends the archive. Nothing may be added after it.</summary>
    public void Finish() => Write("TRAILER!!!", /* inode */ 0, 0, 1, 0, 0, []);

    private void Add(string path, uint mode, uint links, uint major, uint minor, ReadOnlySpan<byte> content)
    {
        int slash = path.LastIndexOf('/');
        if (slash > 0)
        {
            AddDirectory(path[..slash]);
        }

        if (!_paths.Add(path))
        {
            throw new ArgumentException($"The archive already has an entry '{path}'.", nameof(path));
        }

        Write(path, ++_inode, mode, links, major, minor, content);
    }

    private void Write(string path, uint inode, uint mode, uint links, uint major, uint minor, ReadOnlySpan<byte> content)
    {
        byte[] name = Encoding.UTF8.GetBytes(path + '\0');
        ReadOnlySpan<uint> fields =
        [
            inode, mode, /* uid */ 0, /* gid */ 0, links, /* mtime */ 0, checked((uint)content.Length),
            /* device */ 0, 0, major, minor, (uint)name.Length, /* check, not used by this format */ 0,
        ];

        var header = new StringBuilder("070701", 110);
        foreach (uint field in fields)
        {
            header.Append(field.ToString("X8"));
        }

        output.Write(Encoding.ASCII.GetBytes(header.ToString()));
        output.Write(name);
        Pad(header.Length + name.Length);
        output.Write(content);
        Pad(content.Length);
    }

    private void Pad(int length) => output.Write(stackalloc byte[4].Slice(0, -length & 3));
}
