using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Memory;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>An initial RAM disk, or a module of a Multiboot kernel: a file that is kept open, so that a guest's reset loads the same file, or bytes of the caller.</summary>
public sealed class Initrd : IDisposable
{
    /// <summary>The kind of a module of a Multiboot kernel, for messages.</summary>
    public const string Module = "module";

    private readonly SafeFileHandle? _file;
    private readonly byte[] _bytes = [];

    private Initrd(string name, SafeFileHandle file, ulong length)
    {
        Name = name;
        Length = length;
        _file = file;
    }

    /// <summary>An initrd from memory.</summary>
    /// <param name="name">Name for messages.</param>
    /// <param name="bytes">The content; not copied.</param>
    public Initrd(string name, byte[] bytes)
    {
        Name = name;
        Length = (ulong)bytes.Length;
        _bytes = bytes;
    }

    /// <summary>Name for messages: the path of the file.</summary>
    public string Name { get; }

    /// <summary>Bytes.</summary>
    public ulong Length { get; }

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="kind">The kind for messages: <c>initrd</c> or <see cref="Module"/>.</param>
    /// <exception cref="UserErrorException">The file is missing, unreadable or empty.</exception>
    public static Initrd Open(string path, string kind = "initrd")
    {
        try
        {
            if (Directory.Exists(path))
            {
                throw new UserErrorException($"The {kind} '{path}' is a directory; name a file.");
            }

            SafeFileHandle file = File.OpenHandle(path);
            long length = RandomAccess.GetLength(file);
            if (length == 0)
            {
                file.Dispose();
                throw new ConfigurationException(FieldOf(kind), $"The {kind} '{path}' is empty", "leave it out, or give a file that is not empty");
            }

            return new Initrd(path, file, (ulong)length);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ConfigurationException(FieldOf(kind), $"The {kind} '{path}' does not exist", "check the path");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new UserErrorException($"The {kind} '{path}' can't be read ({e.Message.TrimEnd('.')}); check the file and its permissions.");
        }
    }

    private static string FieldOf(string kind) => kind == Module ? "/modules" : "/initrd";

    /// <summary>Copies the content to guest memory; the caller has checked that it fits.</summary>
    internal void CopyTo(GuestMemory memory, ulong gpa)
    {
        if (_file is null)
        {
            memory.Write(gpa, _bytes);
            return;
        }

        for (ulong done = 0; done < Length;)
        {
            int piece = (int)Math.Min(Length - done, 64UL << 20);
            int read = memory.TrySlice(gpa + done, piece, out Span<byte> target) ? RandomAccess.Read(_file, target, (long)done) : 0;
            if (read == 0)
            {
                throw new UserErrorException($"The file '{Name}' became shorter while it was read: try again when no other program writes to it.");
            }

            memory.Written(gpa + done, (ulong)read);
            done += (ulong)read;
        }
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file?.Dispose();
}
