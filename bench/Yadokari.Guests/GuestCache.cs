using System.Security.Cryptography;
using System.Text;
using Yadokari.Core;

namespace Yadokari.Guests;

/// <summary>
/// The folder that keeps downloaded packages and built guest images between runs. Everything in it can be removed at any time and is made again.
/// </summary>
/// <remarks>
/// An entry is built beside its final name and renamed into place, so that a name either is absent or holds a finished build, also after a
/// crash. Builders in several processes are put in order by a lock file; the second finds the first one's work.
/// </remarks>
public sealed class GuestCache
{
    // EWOULDBLOCK of Linux asm-generic/errno.h: .NET reports it when another process holds the file.
    private const int WouldBlock = 11;

    private readonly Action<string> _progress;

    /// <summary>Opens the cache at <paramref name="root"/>, making the folder when it is missing.</summary>
    /// <param name="root">The folder; null takes <c>$XDG_CACHE_HOME/yadokari/tests</c>, or <c>~/.cache/yadokari/tests</c>.</param>
    /// <param name="progress">Called with a line before each long step; null reports nothing.</param>
    public GuestCache(string? root = null, Action<string>? progress = null)
    {
        Root = root ?? DefaultRoot();
        _progress = progress ?? (static _ => { });
        Write(() => Directory.CreateDirectory(Root));
    }

    /// <summary>The cache's folder, as an absolute path.</summary>
    public string Root { get; }

    /// <summary>Reports the beginning of a long step.</summary>
    public void Announce(string step) => _progress(step);

    /// <summary>
    /// The path of the entry <paramref name="name"/>, built first if it is absent. <paramref name="build"/> receives a path that does not exist
    /// and creates a file or a folder there.
    /// </summary>
    /// <exception cref="UserErrorException">The folder can not be written to.</exception>
    public string GetOrBuild(string name, Action<string> build)
    {
        var path = Path.Combine(Root, name);
        if (Path.Exists(path))
            return path;
        Write(() => Directory.CreateDirectory(Path.GetDirectoryName(path)!));
        using var turn = Locked(path + ".lock");
        if (Path.Exists(path))
            return path;
        var draft = $"{path}.{Environment.ProcessId}.tmp";
        Remove(draft);
        try
        {
            Write(() =>
            {
                build(draft);
                if (Directory.Exists(draft))
                    Directory.Move(draft, path);
                else
                    File.Move(draft, path);
            });
        }
        finally
        {
            Remove(draft);
        }
        return path;
    }

    /// <summary>A short name for a content: the first 12 hexadecimal digits of the SHA-256 over all parts, in order.</summary>
    public static string Fingerprint(params IEnumerable<string> parts)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var part in parts)
        {
            hash.AppendData(Encoding.UTF8.GetBytes(part));
            hash.AppendData([0]);
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..12];
    }

    private static string DefaultRoot()
    {
        var xdg = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        var cache = string.IsNullOrEmpty(xdg)
            ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache")
            : xdg;
        return Path.Combine(Path.GetFullPath(cache), "yadokari", "tests");
    }

    /// <summary>Holds the lock file <paramref name="path"/> until the result is disposed; waits while another process holds it.</summary>
    internal FileStream Locked(string path)
    {
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException error) when (error.HResult == WouldBlock)
            {
                Thread.Sleep(100);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                throw Unwritable(error);
            }
        }
    }

    private void Write(Action action)
    {
        try
        {
            action();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw Unwritable(error);
        }
    }

    private UserErrorException Unwritable(Exception error) =>
        new($"The guest cache {Root} could not be written ({error.Message}); free some space, or name another folder in XDG_CACHE_HOME.");

    private static void Remove(string path)
    {
        if (Directory.Exists(path))
            Directory.Delete(path, recursive: true);
        else
            File.Delete(path);
    }
}
