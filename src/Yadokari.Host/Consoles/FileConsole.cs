namespace Yadokari.Host.Consoles;

/// <summary>A console that writes to a file and has no input.</summary>
internal sealed class FileConsole : IGuestConsole
{
    private readonly OutputFile _file;
    private readonly OutputPump _pump;

    /// <summary>Creates the console.</summary>
    /// <param name="file">The file; not owned.</param>
    /// <param name="fail">Ends the run by an exception. Any thread.</param>
    public FileConsole(OutputFile file, Action<Exception> fail)
    {
        _file = file;
        _pump = new OutputPump(WriteFile, _ => { }, fail);
    }

    /// <inheritdoc/>
    public string LineEnd => "\n";

    /// <inheritdoc/>
    public event Action? Ready
    {
        add => _pump.Ready += value;
        remove => _pump.Ready -= value;
    }

    /// <inheritdoc/>
    public bool HasRoom => _pump.HasRoom;

    /// <inheritdoc/>
    public void Begin() => _file.Begin();

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes) => _pump.Write(bytes);

    /// <inheritdoc/>
    public void Flush() => _pump.Flush();

    /// <inheritdoc/>
    public void Restore()
    {
    }

    /// <inheritdoc/>
    public void Dispose() => _pump.Dispose();

    private int WriteFile(ReadOnlySpan<byte> output)
    {
        _file.Write(output);
        return 0;
    }
}
