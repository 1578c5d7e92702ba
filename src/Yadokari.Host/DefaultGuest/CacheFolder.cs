using System.Globalization;
using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>
/// Files that are made once and kept in a cache folder. They are made in a temporary folder, which is renamed to its place when complete. So
/// incomplete files are never used after a kill, with a full disk, or with another yado at work.
/// </summary>
/// <param name="root">The cache folder; created when needed.</param>
/// <param name="name">Name of the folder in it; contains a fingerprint of the inputs.</param>
/// <param name="room">Mebibytes that making the files may take, for messages.</param>
/// <param name="files">Names of the files.</param>
internal sealed class CacheFolder(string root, string name, int room, IReadOnlyList<string> files)
{
    private const string MakingPrefix = ".making-";

    /// <summary>The user's cache folder: <c>$XDG_CACHE_HOME/yadokari</c>, or <c>~/.cache/yadokari</c> (XDG Base Directory Specification 0.8).</summary>
    public static string OfUser() => UserFolder("XDG_CACHE_HOME", ".cache");

    /// <summary>The folder <c>yadokari</c> in the folder that an environment variable names, or in <paramref name="belowHome"/> below the home folder if the variable is not an absolute path.</summary>
    public static string UserFolder(string variable, string belowHome)
    {
        string? xdg = Environment.GetEnvironmentVariable(variable);
        string folder = xdg is not null && Path.IsPathRooted(xdg)
            ? xdg
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), belowHome);
        return Path.Combine(folder, "yadokari");
    }

    /// <summary>The folder of the files; may not exist yet.</summary>
    public string Place => Path.Combine(root, name);

    /// <summary>Whether all files exist and are complete.</summary>
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

    /// <summary>Makes the files unless they exist.</summary>
    /// <param name="make">Makes the files: receives a folder for temporary files, and the folder to write the files to.</param>
    /// <exception cref="UserErrorException">The files can't be made.</exception>
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
                // The place exists: it is incomplete, or another yado was faster. An incomplete folder is renamed away, which is atomic too.
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
            // Another yado was faster.
        }
    }

    /// <summary>Removes the temporary folders of processes that were killed.</summary>
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

    /// <summary>The cache folder and its parents as far as they do not exist, innermost first.</summary>
    private List<string> MissingFolders()
    {
        var folders = new List<string>();
        for (string? folder = root; folder is not null && !Directory.Exists(folder); folder = Path.GetDirectoryName(folder))
        {
            folders.Add(folder);
        }

        return folders;
    }

    // Removes the folders that were created if they are still empty, as after a failure.
    private static void RemoveEmpty(List<string> folders)
    {
        try
        {
            folders.ForEach(Directory.Delete);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Not empty, or never created.
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
            // It was never created, or the next yado removes it.
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
