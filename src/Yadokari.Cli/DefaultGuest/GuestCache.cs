using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Yadokari.Core;

namespace Yadokari.Cli.DefaultGuest;

/// <summary>A kernel and its initial RAM disk, ready to boot.</summary>
internal readonly record struct GuestFiles(string Kernel, string Initrd);

/// <summary>
/// Keeps the default guest in the user's cache folder. A guest is made in a folder of its own beside its place and renamed into it
/// once whole, so that whatever happens meanwhile (a kill, a full disk, another yado) nothing half-made is ever used.
/// </summary>
/// <param name="root">The folder, made when needed.</param>
internal sealed class GuestCache(string root)
{
    private const string MakingPrefix = ".making-";

    // The guest's place carries the fingerprint of what goes into it from here, so a new init script makes a new guest.
    private static readonly string s_name = "debian-" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(GuestRoot.Init)))[..12];

    /// <summary>The folder of the user: <c>$XDG_CACHE_HOME/yadokari</c>, or <c>~/.cache/yadokari</c> (XDG Base Directory Specification 0.8).</summary>
    public static GuestCache OfUser()
    {
        string? xdg = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        string cache = xdg is not null && Path.IsPathRooted(xdg)
            ? xdg
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        return new GuestCache(Path.Combine(cache, "yadokari"));
    }

    /// <summary>The folder that a whole guest is in, or will be.</summary>
    public string Place => Path.Combine(root, s_name);

    /// <summary>The guest, if it is there and whole.</summary>
    public GuestFiles? TryFind()
    {
        var files = new GuestFiles(Path.Combine(Place, "vmlinuz"), Path.Combine(Place, "initrd.cpio"));
        try
        {
            return File.ReadAllText(Path.Combine(Place, "sizes")) == Sizes(files) ? files : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The guest, made first if need be.</summary>
    /// <param name="make">Makes it: writes the two files, and whatever else it needs on the way, into the folder that it is given.</param>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public GuestFiles FindOrMake(Action<string, GuestFiles> make)
    {
        if (TryFind() is { } there)
        {
            return there;
        }

        string making = Path.Combine(root, $"{MakingPrefix}{Environment.ProcessId}-{Guid.NewGuid():N}");
        List<string> folders = MissingFolders();
        try
        {
            Directory.CreateDirectory(root);
            RemoveLeftovers();
            string work = Directory.CreateDirectory(Path.Combine(making, "work")).FullName;
            string whole = Directory.CreateDirectory(Path.Combine(making, "whole")).FullName;
            var files = new GuestFiles(Path.Combine(whole, "vmlinuz"), Path.Combine(whole, "initrd.cpio"));
            make(work, files);
            Flush(files.Kernel);
            Flush(files.Initrd);
            File.WriteAllText(Path.Combine(whole, "sizes"), Sizes(files));
            MoveIntoPlace(whole);
        }
        catch (Exception error) when (error is DiskFullException || IsFull(error))
        {
            throw new UserErrorException($"The disk of the cache folder {root} is full: free 200 MB there, or set XDG_CACHE_HOME to a folder that has room.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"The cache folder {root} can't be written ({error.Message.TrimEnd('.')}): set XDG_CACHE_HOME to a folder that can.");
        }
        finally
        {
            Remove(making);
            RemoveEmpty(folders);
        }

        return TryFind() ?? throw new UserErrorException($"The cache folder {root} does not keep what is written to it: set XDG_CACHE_HOME to another.");
    }

    private void MoveIntoPlace(string whole)
    {
        try
        {
            if (Directory.Exists(Place))
            {
                // Not whole, or another yado's that came first; renaming it away is as sudden as renaming into place.
                if (TryFind() is not null)
                {
                    return;
                }

                Directory.Move(Place, Path.Combine(Path.GetDirectoryName(whole)!, "damaged"));
            }

            Directory.Move(whole, Place);
        }
        catch (IOException) when (TryFind() is not null)
        {
            // Another yado came first.
        }
    }

    /// <summary>Removes what yados that were killed have left.</summary>
    private void RemoveLeftovers()
    {
        foreach (string folder in Directory.EnumerateDirectories(root, MakingPrefix + "*"))
        {
            string process = Path.GetFileName(folder)[MakingPrefix.Length..].Split('-')[0];
            if (int.TryParse(process, CultureInfo.InvariantCulture, out int id) && !Directory.Exists($"/proc/{id}"))
            {
                Remove(folder);
            }
        }
    }

    /// <summary>The root and the folders above it that are not there yet, innermost first.</summary>
    private List<string> MissingFolders()
    {
        var folders = new List<string>();
        for (string? folder = root; folder is not null && !Directory.Exists(folder); folder = Path.GetDirectoryName(folder))
        {
            folders.Add(folder);
        }

        return folders;
    }

    // Where nothing came of it, the folders made for it go too; where something did, they are not empty.
    private static void RemoveEmpty(List<string> folders)
    {
        try
        {
            folders.ForEach(Directory.Delete);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // In use, or never made.
        }
    }

    private static void Remove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // It was never made, or the next yado removes it.
        }
    }

    private static string Sizes(GuestFiles files) =>
        string.Create(CultureInfo.InvariantCulture, $"{new FileInfo(files.Kernel).Length} {new FileInfo(files.Initrd).Length}\n");

    private static void Flush(string path)
    {
        using FileStream stream = new(path, FileMode.Open, FileAccess.ReadWrite);
        stream.Flush(flushToDisk: true);
    }

    private static bool IsFull(Exception error)
    {
        const int Enospc = 28;
        const int Edquot = 122;
        return error is IOException && (error.HResult is Enospc or Edquot || error.Message.Contains("No space left", StringComparison.Ordinal));
    }
}
