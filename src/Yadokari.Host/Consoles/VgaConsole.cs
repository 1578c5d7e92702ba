using System.Text;
using Yadokari.Core.Lifetimes;
using Yadokari.Devices.Display;
using Yadokari.Linux;

namespace Yadokari.Host.Consoles;

/// <summary>
/// Shows the VGA screen on standard output and feeds the PS/2 keyboard from standard input; output of the serial port is dropped. A terminal
/// shows the screen in place; a file or a pipe receives its rows as lines of text.
/// </summary>
internal sealed class VgaConsole : IGuestConsole
{
    private const int StandardOutput = 1;

    // 25 frames a second look continuous, and reading the screen this often does not slow the guest.
    private static readonly TimeSpan s_refresh = TimeSpan.FromMilliseconds(40);

    private readonly Func<TextFrame, bool> _look;
    private readonly Action<int> _end;
    private readonly Action<Exception> _fail;
    private readonly TypedInput _input;
    private readonly OutputPump _pump;
    private readonly IScreenText _text;
    private readonly TextFrame _frame = new(); // Guarded by _lock.
    private readonly StringBuilder _changes = new(); // Guarded by _lock.
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _ending = new();
    private Thread? _thread;

    /// <param name="look">Reads the screen; false while there is no machine. Any thread.</param>
    /// <param name="press">Receives the strokes for the guest, on the console's thread.</param>
    /// <param name="end">Ends the run with an exit code. Any thread.</param>
    /// <param name="fail">Ends the run by an exception. Any thread.</param>
    public VgaConsole(Func<TextFrame, bool> look, Action<byte[]> press, Action<int> end, Action<Exception> fail)
    {
        _look = look;
        _end = end;
        _fail = fail;
        var strokes = new KeyStrokes(press);
        _input = new TypedInput(strokes.Type, OnEscape, fail);
        _pump = new OutputPump(StandardStreams.WriteOutput, _ => end(ExitCodes.Success), fail); // StandardStreams.Finish turns this into the exit code.
        _text = Terminal.IsTerminal(StandardOutput) ? new TerminalScreen() : new ScreenLines();
    }

    /// <inheritdoc/>
    public string LineEnd => _input.IsTerminal ? "\r\n" : "\n";

    /// <inheritdoc/>
    public void Begin()
    {
        _input.Begin();
        _thread = HostThread.Start("screen", Refresh, _fail);
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes)
    {
    }

    /// <inheritdoc/>
    public void Flush()
    {
        Show();
        _pump.Flush();
    }

    /// <inheritdoc/>
    public void Restore() => _input.Restore();

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_ending.IsSet)
        {
            return;
        }

        _ending.Set();
        if (_thread is { } thread)
        {
            thread.Join();
            _pump.Write(Encoding.UTF8.GetBytes(_text.Leave()));
        }

        _pump.Dispose();
        _input.Dispose();
    }

    private void Refresh()
    {
        while (!_ending.Wait(s_refresh))
        {
            Show();
        }
    }

    private void Show()
    {
        lock (_lock)
        {
            if (!_look(_frame))
            {
                return;
            }

            _changes.Clear();
            _text.Show(_frame, _changes);
            if (_changes.Length > 0)
            {
                _pump.Write(Encoding.UTF8.GetBytes(_changes.ToString()));
            }
        }
    }

    private void OnEscape(EscapeAction action)
    {
        if (action == EscapeAction.End)
        {
            _end(ExitCodes.EndedByUser);
            return;
        }

        lock (_lock)
        {
            // Written below the screen; the next refresh does not overwrite it.
            _pump.Write(Encoding.ASCII.GetBytes(_text.Leave() + EscapeKeys.Help.ReplaceLineEndings(LineEnd)));
        }
    }
}
