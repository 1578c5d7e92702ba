using System.Runtime.InteropServices;
using Yadokari.Core.Lifetimes;
using Yadokari.Linux;

namespace Yadokari.Host.Consoles;

/// <summary>
/// What is typed at standard input. A terminal is raw, with <see cref="EscapeKeys"/>, and what a guest does not read for too long is lost, as a
/// terminal loses it; otherwise bytes go through as they are, all of them in the end, and the end of input does not end the guest.
/// </summary>
/// <param name="type">Gets the keys for the guest, on the input's thread.</param>
/// <param name="escaped">Told of what the user asked of the monitor, on the input's thread.</param>
/// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
internal sealed class TypedInput(TypedInput.TypeKeys type, Action<EscapeAction> escaped, Action<Exception> failed) : IDisposable
{
    /// <summary>Takes keys. Returns how many there was room for.</summary>
    public delegate int TypeKeys(ReadOnlySpan<byte> keys);

    private const int StandardInput = 0;

    // A guest that does not read is looked at so often.
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(20);

    private Terminal? _terminal;
    private PosixSignalRegistration? _continued;

    /// <summary>Whether it is a terminal, once it has begun.</summary>
    public bool IsTerminal => _terminal is not null;

    /// <summary>The run begins.</summary>
    public void Begin()
    {
        // Whatever ends the process from here on, the terminal comes back first.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Restore();
        AppDomain.CurrentDomain.UnhandledException += (_, _) => Restore();
        _terminal = Terminal.TryOpenRaw(StandardInput);
        if (_terminal is { } terminal)
        {
            _continued = PosixSignalRegistration.Create(PosixSignal.SIGCONT, context =>
            {
                context.Cancel = true; // Else the runtime puts back the mode that it found when it first heard of a signal.
                terminal.Reapply();
            });
        }

        HostThread.Start("console input", ReadKeys, failed);
    }

    /// <summary>Types all keys, and waits until there was room for them.</summary>
    public static void TypeAll(TypeKeys type, ReadOnlySpan<byte> keys)
    {
        while (keys[type(keys)..] is { IsEmpty: false } rest)
        {
            keys = rest;
            Thread.Sleep(s_pause);
        }
    }

    /// <summary>Gives the terminal back. Any thread.</summary>
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
