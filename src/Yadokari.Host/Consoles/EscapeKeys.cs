namespace Yadokari.Host.Consoles;

/// <summary>A command that the user gave to the monitor by an escape key.</summary>
internal enum EscapeAction
{
    /// <summary>None: all keys go to the guest.</summary>
    None,

    /// <summary>End the machine.</summary>
    End,

    /// <summary>Show the escape keys.</summary>
    Help,
}

/// <summary>
/// Separates keys for the monitor from keys for the guest: after Ctrl-A, <c>x</c> ends the machine, <c>h</c> or <c>?</c> shows help, <c>a</c>
/// or another Ctrl-A sends one Ctrl-A, and any other key goes to the guest after its Ctrl-A. A sequence may span several reads.
/// </summary>
internal sealed class EscapeKeys
{
    private const byte ControlA = 1;
    private bool _escaped;

    /// <summary>The text that Ctrl-A h shows.</summary>
    public const string Help = "Ctrl-A x  ends the machine\nCtrl-A a  sends Ctrl-A to the guest\nCtrl-A h  shows this\n";

    /// <summary>Processes the bytes of one read.</summary>
    /// <param name="keys">What was read.</param>
    /// <param name="forGuest">Receives the guest's keys; at least one byte longer than <paramref name="keys"/>.</param>
    /// <param name="guestCount">How many bytes of <paramref name="forGuest"/> were written.</param>
    /// <returns>The last command; keys after <see cref="EscapeAction.End"/> are dropped.</returns>
    public EscapeAction Feed(ReadOnlySpan<byte> keys, Span<byte> forGuest, out int guestCount)
    {
        var action = EscapeAction.None;
        guestCount = 0;
        foreach (byte key in keys)
        {
            if (!_escaped)
            {
                _escaped = key == ControlA;
                if (!_escaped)
                {
                    forGuest[guestCount++] = key;
                }

                continue;
            }

            _escaped = false;
            switch (key)
            {
                case (byte)'x' or (byte)'X':
                    return EscapeAction.End;
                case (byte)'h' or (byte)'H' or (byte)'?':
                    action = EscapeAction.Help;
                    break;
                case (byte)'a' or (byte)'A' or ControlA:
                    forGuest[guestCount++] = ControlA;
                    break;
                default:
                    forGuest[guestCount++] = ControlA;
                    forGuest[guestCount++] = key;
                    break;
            }
        }

        return action;
    }
}
