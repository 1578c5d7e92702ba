using Yadokari.Core;

namespace Yadokari.Host.Consoles;

/// <summary>
/// A file that a run writes. Opening checks that it can be written and keeps its content; <see cref="Begin"/> truncates it. Disposing before
/// that removes the file if opening created it. The guest keeps running after a write error: the error is reported once, and later output
/// is dropped.
/// </summary>
internal sealed class OutputFile : WriteOnlyStream
{
    private readonly string _option;
    private readonly string _path;
    private readonly bool _existed;
    private readonly FileStream _file;
    private bool _begun;
    private bool _broken;

    private OutputFile(string option, string path, bool existed, FileStream file)
    {
        _option = option;
        _path = path;
        _existed = existed;
        _file = file;
    }

    /// <summary>Opens a file without truncating it.</summary>
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
            return new OutputFile(option, path, existed, new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0));
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

    /// <summary>Truncates the file. Called when the run begins.</summary>
    public void Begin()
    {
        _begun = true;
        if (_file.CanSeek && _file.Length > 0)
        {
            _file.SetLength(0);
        }
    }

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (_broken)
        {
            return;
        }

        try
        {
            _file.Write(buffer);
        }
        catch (IOException error)
        {
            _broken = true;
            StandardStreams.Error.WriteLine($"yado: {_option} {_path} can't be written any more ({error.Message.TrimEnd('.')}): the guest keeps running, and further output is dropped.");
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _file.Dispose();
            if (!_begun && !_existed)
            {
                File.Delete(_path);
            }
        }

        base.Dispose(disposing);
    }
}
