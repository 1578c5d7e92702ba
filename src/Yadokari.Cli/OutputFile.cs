using Yadokari.Core;

namespace Yadokari.Cli;

/// <summary>
/// A file that a run writes. Opening finds out whether it can be written and changes nothing that was in it; only
/// <see cref="Begin"/> empties it, and <see cref="Dispose"/> before that removes it again if opening made it.
/// </summary>
internal sealed class OutputFile : IDisposable
{
    private readonly string _path;
    private readonly bool _existed;
    private bool _begun;

    private OutputFile(string path, bool existed, FileStream stream)
    {
        _path = path;
        _existed = existed;
        Stream = stream;
    }

    /// <summary>The open file.</summary>
    public FileStream Stream { get; }

    /// <summary>Opens a file to be written later.</summary>
    /// <exception cref="UserErrorException">It can't be written.</exception>
    public static OutputFile Open(string option, string path)
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
            bool existed = File.Exists(path);
            return new OutputFile(path, existed, new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0));
        }
        catch (DirectoryNotFoundException)
        {
            throw new UserErrorException($"{option} {path} can't be written: its folder does not exist; make it first.");
        }
        catch (UnauthorizedAccessException)
        {
            throw new UserErrorException($"{option} {path} can't be written by this user: give a file in a folder that can.");
        }
        catch (IOException error)
        {
            throw new UserErrorException($"{option} {path} can't be written ({error.Message.TrimEnd('.')}): give another file.");
        }
    }

    /// <summary>Empties the file: the run begins.</summary>
    public void Begin()
    {
        _begun = true;
        if (Stream.CanSeek && Stream.Length > 0)
        {
            Stream.SetLength(0);
        }
    }

    /// <summary>Closes the file.</summary>
    public void Dispose()
    {
        Stream.Dispose();
        if (!_begun && !_existed)
        {
            File.Delete(_path);
        }
    }
}
