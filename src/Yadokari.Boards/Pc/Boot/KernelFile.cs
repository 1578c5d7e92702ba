using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Configuration;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>A kernel's file. It is kept open, so that a guest's reset loads the same file; the content of a pipe is kept in memory.</summary>
public sealed class KernelFile : IDisposable
{
    private readonly string _path;
    private readonly SafeFileHandle? _file;
    private readonly byte[] _bytes = [];

    private KernelFile(string path, SafeFileHandle file) => (_path, _file) = (path, file);

    private KernelFile(string path, byte[] bytes) => (_path, _bytes) = (path, bytes);

    /// <summary>Opens a file.</summary>
    /// <exception cref="UserErrorException">The file is missing or unreadable.</exception>
    public static KernelFile Open(string path)
    {
        try
        {
            if (Directory.Exists(path))
            {
                throw new UserErrorException($"The kernel '{path}' is a directory; name a kernel file such as /boot/vmlinuz.");
            }

            SafeFileHandle file = File.OpenHandle(path);
            if (HasLength(file))
            {
                return new KernelFile(path, file);
            }

            // A pipe is read to its end.
            using var stream = new FileStream(file, FileAccess.Read);
            using var copy = new MemoryStream();
            stream.CopyTo(copy);
            return new KernelFile(path, copy.ToArray());
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ConfigurationException("/kernel", $"The kernel '{path}' does not exist", $"check the path given to {{/kernel}}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>Reads the kernel. May be called several times.</summary>
    /// <exception cref="UserErrorException">The file is unreadable, or not a kernel that this machine can run.</exception>
    public KernelImage Read()
    {
        if (_file is null)
        {
            return KernelImage.Parse(_path, _bytes);
        }

        try
        {
            // A device may have no end, and has no length as a file.
            long length = RandomAccess.GetLength(_file);
            byte[] bytes = length <= Array.MaxLength ? new byte[length] : throw new UserErrorException(KernelImage.NotKernel(_path));
            for (int done = 0, read; done < bytes.Length; done += read)
            {
                read = RandomAccess.Read(_file, bytes.AsSpan(done), done);
                if (read == 0)
                {
                    throw new UserErrorException($"The kernel '{_path}' became shorter while it was read: try again when no other program writes to it.");
                }
            }

            return KernelImage.Parse(_path, bytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(_path, e);
        }
    }

    /// <summary>Closes it.</summary>
    public void Dispose() => _file?.Dispose();

    private static bool HasLength(SafeFileHandle file)
    {
        try
        {
            RandomAccess.GetLength(file);
            return true;
        }
        catch (NotSupportedException)
        {
            return false;
        }
    }

    private static UserErrorException Unreadable(string path, Exception error) =>
        new($"The kernel '{path}' can't be read ({error.Message.TrimEnd('.')}); check the file and its permissions.");
}
