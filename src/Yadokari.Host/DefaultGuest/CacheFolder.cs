using System.Globalization;
using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>
/// Files that are made once and kept in a cache folder. They are made in a folder of their own beside their place, which is renamed into it
/// once whole, so that whatever happens meanwhile (a kill, a full disk, another yado) nothing half-made is ever used.
/// </summary>
/// <param name="root">The folder, made when needed.</param>
/// <param name="name">What the place in it is called: carries the fingerprint of what goes into the files.</param>
/// <param name="room">Mebibytes that making them may take, for a sentence.</param>
/// <param name="files">Their names.</param>
internal sealed class CacheFolder(string root, string name, int room, IReadOnlyList<string> files)
{
    private const string MakingPrefix = ".making-";

    /// <summary>The folder of the user: <c>$XDG_CACHE_HOME/yadokari</c>, or <c>~/.cache/yadokari</c> (XDG Base Directory Specification 0.8).</summary>
    public static string OfUser() => UserFolder("XDG_CACHE_HOME", ".cache");

    /// <summary>A folder of the user's: what an environment variable says, if that is absolute, or a folder below the home, and <c>yadokari</c> in it.</summary>
    public static string UserFolder(string variable, string belowHome)
    {
        string? xdg = Environment.GetEnvironmentVariable(variable);
        string folder = xdg is not null && Path.IsPathRooted(xdg)
            ? xdg
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), belowHome);
        return Path.Combine(folder, "yadokari");
    }

    /// <summary>The folder that the files are in, or will be.</summary>
    public string Place => Path.Combine(root, name);

    /// <summary>Whether they are there and whole.</summary>
    public bool IsWhole()
    {
        try
        {
            return File.ReadAllText(Path.Combine(Place, "sizes")) == Sizes(Place);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Makes them if need be.</summary>
    /// <param name="make">Makes them: gets a folder for whatever it needs on the way, and the one to write the files into.</param>
    /// <exception cref="UserErrorException">They can't be made.</exception>
    public void FindOrMake(Action<string, string> make)
    {
        if (IsWhole())
        {
            return;
        }

        string making = Path.Combine(root, $"{MakingPrefix}{Environment.ProcessId}-{Guid.NewGuid():N}");
        List<string> folders = MissingFolders();
        try
        {
            Directory.CreateDirectory(root);
            RemoveLeftovers();
            string work = Directory.CreateDirectory(Path.Combine(making, "work")).FullName;
            string whole = Directory.CreateDirectory(Path.Combine(making, "whole")).FullName;
            make(work, whole);
            foreach (string file in files)
            {
                Flush(Path.Combine(whole, file));
            }

            File.WriteAllText(Path.Combine(whole, "sizes"), Sizes(whole));
            MoveIntoPlace(whole);
        }
        catch (Exception error) when (error is DiskFullException || IsFull(error))
        {
            throw new UserErrorException($"The disk of the cache folder {root} is full: free {room} MB there, or set XDG_CACHE_HOME to a folder that has room.");
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

        if (!IsWhole())
        {
            throw new UserErrorException($"The cache folder {root} does not keep what is written to it: set XDG_CACHE_HOME to another.");
        }
    }

    private void MoveIntoPlace(string whole)
    {
        try
        {
            if (Directory.Exists(Place))
            {
                // Not whole, or another yado's that came first; renaming it away is as sudden as renaming into place.
                if (IsWhole())
                {
                    return;
                }

                Directory.Move(Place, Path.Combine(Path.GetDirectoryName(whole)!, "damaged"));
            }

            Directory.Move(whole, Place);
        }
        catch (IOException) when (IsWhole())
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

    private string Sizes(string folder) =>
        string.Join(' ', files.Select(f => new FileInfo(Path.Combine(folder, f)).Length.ToString(CultureInfo.InvariantCulture))) + "\n";

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
