using Yadokari.Host.Consoles;
using Yadokari.Host.Control;

namespace Yadokari.Host.Instances;

/// <summary>The console of a named machine: its output also goes to a log file and to attached clients.</summary>
internal sealed class MachineConsole : IGuestConsole
{
    private readonly IGuestConsole _console;
    private readonly FileStream _log;
    private readonly ControlServer _control;
    private readonly Action _begun;
    private readonly OutputPump _pump;

    /// <summary>Creates the console.</summary>
    /// <param name="console">The console that the options ask for; owned.</param>
    /// <param name="log">Receives all output; owned.</param>
    /// <param name="control">Sends output to attached clients; not owned.</param>
    /// <param name="begun">Called when the run begins.</param>
    /// <param name="fail">Ends the run by an exception. Any thread.</param>
    public MachineConsole(IGuestConsole console, FileStream log, ControlServer control, Action begun, Action<Exception> fail)
    {
        _console = console;
        _log = log;
        _control = control;
        _begun = begun;
        _pump = new OutputPump(Keep, _ => { }, fail);
    }

    /// <inheritdoc/>
    public string LineEnd => _console.LineEnd;

    /// <inheritdoc/>
    public event Action? Ready
    {
        add
        {
            _console.Ready += value;
            _pump.Ready += value;
        }

        remove
        {
            _console.Ready -= value;
            _pump.Ready -= value;
        }
    }

    /// <inheritdoc/>
    public bool HasRoom => _console.HasRoom && _pump.HasRoom;

    /// <inheritdoc/>
    public void Begin()
    {
        _begun();
        _console.Begin();
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        _console.Write(bytes);
        _pump.Write(bytes);
    }

    /// <inheritdoc/>
    public void Flush()
    {
        _console.Flush();
        _pump.Flush();
    }

    /// <inheritdoc/>
    public void Restore() => _console.Restore();

    /// <inheritdoc/>
    public void Dispose()
    {
        _console.Dispose();
        _pump.Dispose();
        _log.Dispose();
    }

    private int Keep(ReadOnlySpan<byte> output)
    {
        try
        {
            _log.Write(output);
        }
        catch (IOException)
        {
            // The disk is full: the guest keeps running, and the rest of the log is lost.
        }

        _control.Show(output);
        return 0;
    }
}
