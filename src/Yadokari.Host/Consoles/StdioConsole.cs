using System.Text;

namespace Yadokari.Host.Consoles;

/// <summary>The serial port on standard input and output.</summary>
internal sealed class StdioConsole : IGuestConsole
{
    private readonly Action<int> _end;
    private readonly TypedInput _input;
    private readonly OutputPump _pump;

    /// <param name="type">Receives the keys for the guest, on the console's thread.</param>
    /// <param name="end">Ends the run with an exit code. Any thread.</param>
    /// <param name="fail">Ends the run by an exception. Any thread.</param>
    public StdioConsole(TypedInput.TypeKeys type, Action<int> end, Action<Exception> fail)
    {
        _end = end;
        _input = new TypedInput(type, OnEscape, fail);
        _pump = new OutputPump(StandardStreams.WriteOutput, _ => end(ExitCodes.Success), fail); // StandardStreams.Finish turns this into the exit code.
    }

    /// <inheritdoc/>
    public string LineEnd => _input.IsTerminal ? "\r\n" : "\n";

    /// <inheritdoc/>
    public event Action? Ready
    {
        add => _pump.Ready += value;
        remove => _pump.Ready -= value;
    }

    /// <inheritdoc/>
    public bool HasRoom => _pump.HasRoom;

    /// <inheritdoc/>
    public void Begin() => _input.Begin();

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes) => _pump.Write(bytes);

    /// <inheritdoc/>
    public void Flush() => _pump.Flush();

    /// <inheritdoc/>
    public void Restore() => _input.Restore();

    /// <inheritdoc/>
    public void Dispose()
    {
        _pump.Dispose();
        _input.Dispose();
    }

    private void OnEscape(EscapeAction action)
    {
        // A blocked reader of the output must not prevent the user from ending the machine.
        bool hasRoom = _pump.HasRoom;
        if (action == EscapeAction.End)
        {
            if (hasRoom)
            {
                _pump.Write("\r\n"u8);
            }

            _end(ExitCodes.EndedByUser);
        }
        else if (hasRoom)
        {
            _pump.Write(Encoding.ASCII.GetBytes("\r\n" + EscapeKeys.Help.ReplaceLineEndings("\r\n")));
        }
    }
}
