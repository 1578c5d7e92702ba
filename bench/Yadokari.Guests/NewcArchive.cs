using System.Text;

namespace Yadokari.Guests;

/// <summary>
/// Writes a cpio archive in the "newc" format that Linux unpacks as an initial RAM file system
/// (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Everything belongs to root and carries one fixed time,
/// so that the same contents give the same bytes.
/// </summary>
public sealed class NewcArchive : IDisposable
{
    private const uint TypeDirectory = 0x4000;
    private const uint TypeCharacterDevice = 0x2000;
    private const uint TypeFile = 0x8000;
    private const uint TypeSymlink = 0xA000;

    private readonly Stream _output;
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private long _length;
    private uint _inode = 1;

    /// <summary>Begins an archive on <paramref name="output"/>, which is closed with it.</summary>
    public NewcArchive(Stream output) => _output = output;

    /// <summary>Whether an entry of this name (without a leading slash) was written already.</summary>
    public bool Contains(string name) => _names.Contains(name);

    /// <summary>Adds a directory and those above it that are missing. Adding one twice does nothing.</summary>
    public void AddDirectory(string name)
    {
        if (name.Length == 0 || _names.Contains(name))
            return;
        AddParents(name);
        Write(name, TypeDirectory | 0x1ED, [], 2, 0, 0);
    }

    /// <summary>Adds a regular file, and the directories above it.</summary>
    /// <param name="name">Path without a leading slash.</param>
    /// <param name="contents">Its bytes.</param>
    /// <param name="executable">Mode 0755 rather than 0644.</param>
    public void AddFile(string name, ReadOnlySpan<byte> contents, bool executable = false)
    {
        AddParents(name);
        Write(name, TypeFile | (executable ? 0x1EDu : 0x1A4u), contents, 1, 0, 0);
    }

    /// <summary>Adds a symbolic link, and the directories above it.</summary>
    public void AddSymlink(string name, string target)
    {
        AddParents(name);
        Write(name, TypeSymlink | 0x1FF, Encoding.UTF8.GetBytes(target), 1, 0, 0);
    }

    /// <summary>Adds a character device node with mode 0600, and the directories above it.</summary>
    public void AddCharacterDevice(string name, uint major, uint minor)
    {
        AddParents(name);
        Write(name, TypeCharacterDevice | 0x180, [], 1, major, minor);
    }

    /// <summary>Writes the trailer and closes the output.</summary>
    public void Dispose()
    {
        Header("TRAILER!!!", 0, 0, 1, 0, 0);
        // The kernel accepts zero bytes between archives; whole 512-byte blocks are what cpio itself writes.
        Pad(512);
        _output.Dispose();
    }

    private void AddParents(string name)
    {
        var slash = name.LastIndexOf('/');
        if (slash > 0)
            AddDirectory(name[..slash]);
    }

    private void Write(string name, uint mode, ReadOnlySpan<byte> contents, uint links, uint major, uint minor)
    {
        if (!_names.Add(name))
            throw new ArgumentException($"The archive already has an entry {name}.", nameof(name));
        Header(name, mode, (uint)contents.Length, links, major, minor);
        Put(contents);
        Pad(4);
    }

    private void Header(string name, uint mode, uint size, uint links, uint major, uint minor)
    {
        var bytes = Encoding.UTF8.GetBytes(name);
        var inode = _inode++;
        Put(Encoding.ASCII.GetBytes(
            $"070701{inode:X8}{mode:X8}{0:X8}{0:X8}{links:X8}{0:X8}{size:X8}{0:X8}{0:X8}{major:X8}{minor:X8}{bytes.Length + 1:X8}{0:X8}"));
        Put(bytes);
        Put([0]);
        Pad(4);
    }

    private void Put(ReadOnlySpan<byte> bytes)
    {
        _output.Write(bytes);
        _length += bytes.Length;
    }

    private void Pad(int unit)
    {
        ReadOnlySpan<byte> zeros = stackalloc byte[512];
        Put(zeros[..(int)((unit - _length % unit) % unit)]);
    }
}
