using System.Runtime.InteropServices;
using System.Text;
using Yadokari.Linux;

namespace Yadokari.Cli.Consoles;

/// <summary>
/// The console on standard input and output. On a terminal it is raw, with <see cref="EscapeKeys"/>; otherwise bytes go through as
/// they are, and the end of input does not end the guest.
/// </summary>
/// <param name="type">Gets the keys for the guest, on the console's thread.</param>
/// <param name="end">Ends the run with an exit code. Any thread.</param>
internal sealed class StdioConsole : IGuestConsole
{
    /// <summary>Takes keys.</summary>
    public delegate void TypeKeys(ReadOnlySpan<byte> keys);

    private const int StandardInput = 0;
    private const int StandardOutput = 1;
    private const int Sigpipe = 13;

    private readonly TypeKeys _type;
    private readonly Action<int> _end;
    private readonly OutputPump _pump;
    private Terminal? _terminal;
    private PosixSignalRegistration? _continued;

    public StdioConsole(TypeKeys type, Action<int> end)
    {
        _type = type;
        _end = end;
        var output = new TerminalStream(StandardOutput);
        _pump = new OutputPump(output.Write, _ => end(ExitCodes.Signal(Sigpipe)));
    }

    /// <inheritdoc/>
    public string LineEnd => _terminal is null ? "\n" : "\r\n";

    /// <inheritdoc/>
    public void Begin()
    {
        // Whatever ends the process from here on, the terminal comes back first.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Restore();
        AppDomain.CurrentDomain.UnhandledException += (_, _) => Restore();
        _terminal = Terminal.TryOpenRaw(StandardInput);
        if (_terminal is { } terminal)
        {
            _continued = PosixSignalRegistration.Create(PosixSignal.SIGCONT, _ => terminal.Reapply());
        }

        new Thread(ReadKeys) { IsBackground = true, Name = "console input" }.Start();
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes) => _pump.Write(bytes);

    /// <inheritdoc/>
    public void Flush() => _pump.Flush();

    /// <inheritdoc/>
    public void Restore() => _terminal?.Restore();

    /// <inheritdoc/>
    public void Dispose()
    {
        _pump.Dispose();
        _continued?.Dispose();
        Restore();
    }

    private void ReadKeys()
    {
        var input = new TerminalStream(StandardInput);
        var escapes = new EscapeKeys();
        Span<byte> keys = stackalloc byte[256];
        Span<byte> forGuest = stackalloc byte[512];
        while (input.Read(keys) is int count and > 0)
        {
            if (_terminal is null)
            {
                _type(keys[..count]);
                continue;
            }

            EscapeAction action = escapes.Feed(keys[..count], forGuest, out int guestCount);
            _type(forGuest[..guestCount]);
            switch (action)
            {
                case EscapeAction.End:
                    _pump.Write("\r\n"u8);
                    _end(ExitCodes.EndedByUser);
                    return;
                case EscapeAction.Help:
                    _pump.Write(Encoding.ASCII.GetBytes("\r\n" + EscapeKeys.Help.ReplaceLineEndings("\r\n")));
                    break;
            }
        }
    }
}
