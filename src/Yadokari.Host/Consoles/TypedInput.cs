using System.Runtime.InteropServices;
using Yadokari.Core.Lifetimes;
using Yadokari.Linux;

namespace Yadokari.Host.Consoles;

/// <summary>
/// Reads standard input for the guest. A terminal is put in raw mode, with <see cref="EscapeKeys"/>; keys that the guest does not read in time
/// are lost, as with a terminal's own buffer. Input from a file or a pipe is passed on unchanged and complete; its end does not end the guest.
/// </summary>
/// <param name="type">Receives the keys for the guest, on the input's thread.</param>
/// <param name="escaped">Receives the user's commands to the monitor, on the input's thread.</param>
/// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
internal sealed class TypedInput(TypedInput.TypeKeys type, Action<EscapeAction> escaped, Action<Exception> failed) : IDisposable
{
    /// <summary>Types keys into the guest. Returns how many of them its buffer had room for.</summary>
    public delegate int TypeKeys(ReadOnlySpan<byte> keys);

    private const int StandardInput = 0;

    // How often input is offered again to a guest that does not read.
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(20);

    private Terminal? _terminal;
    private PosixSignalRegistration? _continued;

    /// <summary>Whether standard input is a terminal. False before <see cref="Begin"/>.</summary>
    public bool IsTerminal => _terminal is not null;

    /// <summary>Puts a terminal in raw mode and starts to read.</summary>
    public void Begin()
    {
        // However the process ends from here on, the terminal's mode is restored first.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Restore();
        AppDomain.CurrentDomain.UnhandledException += (_, _) => Restore();
        _terminal = Terminal.TryOpenRaw(StandardInput);
        if (_terminal is { } terminal)
        {
            _continued = PosixSignalRegistration.Create(PosixSignal.SIGCONT, context =>
            {
                context.Cancel = true; // Otherwise the runtime restores the mode that it recorded at the first signal.
                terminal.Reapply();
            });
        }

        HostThread.Start("console input", ReadKeys, failed);
    }

    /// <summary>Types all keys; blocks until the guest has room for them.</summary>
    public static void TypeAll(TypeKeys type, ReadOnlySpan<byte> keys)
    {
        while (keys[type(keys)..] is { IsEmpty: false } rest)
        {
            keys = rest;
            Thread.Sleep(s_pause);
        }
    }

    /// <summary>Restores the terminal's mode. Any thread.</summary>
    public void Restore() => _terminal?.Restore();

    /// <inheritdoc/>
    public void Dispose()
    {
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
                TypeAll(type, keys[..count]);
                continue;
            }

            EscapeAction action = escapes.Feed(keys[..count], forGuest, out int guestCount);
            _ = type(forGuest[..guestCount]);
            if (action != EscapeAction.None)
            {
                escaped(action);
            }

            if (action == EscapeAction.End)
            {
                return;
            }
        }
    }
}
