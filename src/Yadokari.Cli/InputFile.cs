using Yadokari.Core;

namespace Yadokari.Cli;

/// <summary>A file that the user named and that is read whole.</summary>
internal static class InputFile
{
    /// <summary>Opens and looks, without reading. Returns its length in bytes.</summary>
    /// <param name="option">The option that named it.</param>
    /// <param name="path">As the user wrote it.</param>
    /// <exception cref="UserErrorException">It is missing, unreadable, empty, or not a plain file.</exception>
    public static long Check(string option, string path)
    {
        if (path.Length == 0)
        {
            throw new UserErrorException($"{option} names no file: give the path of one.");
        }

        if (Directory.Exists(path))
        {
            throw new UserErrorException($"{option} {path} is a folder: give a file.");
        }

        try
        {
            using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 1);
            return !stream.CanSeek ? throw new UserErrorException($"{option} {path} is not a plain file: copy it to one first.")
                : stream.Length == 0 ? throw new UserErrorException($"{option} {path} is empty: give a file with something in it.")
                : stream.Length;
        }
        catch (UnauthorizedAccessException)
        {
            throw new UserErrorException($"{option} {path} can't be read: make it readable for this user, or give another file.");
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UserErrorException($"{option} {path} does not exist: check the path.");
        }
        catch (IOException error)
        {
            throw new UserErrorException($"{option} {path} can't be read ({error.Message.TrimEnd('.')}): give another file.");
        }
    }
}
