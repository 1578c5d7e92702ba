namespace Yadokari.Host.Consoles;

/// <summary>What the user asked of the monitor itself.</summary>
internal enum EscapeAction
{
    /// <summary>Nothing: all keys are the guest's.</summary>
    None,

    /// <summary>End the machine.</summary>
    End,

    /// <summary>Show the escape keys.</summary>
    Help,
}

/// <summary>
/// Tells keys for the monitor from keys for the guest: after Ctrl-A, <c>x</c> ends, <c>h</c> or <c>?</c> helps, <c>a</c> or another
/// Ctrl-A sends one Ctrl-A, and anything else goes to the guest with its Ctrl-A. The state lives across reads.
/// </summary>
internal sealed class EscapeKeys
{
    private const byte ControlA = 1;
    private bool _escaped;

    /// <summary>What Ctrl-A h shows.</summary>
    public const string Help = "Ctrl-A x  ends the machine\nCtrl-A a  sends Ctrl-A to the guest\nCtrl-A h  shows this\n";

    /// <summary>Takes keys as they come.</summary>
    /// <param name="keys">What was read.</param>
    /// <param name="forGuest">Gets the guest's keys; at least one longer than <paramref name="keys"/>.</param>
    /// <param name="guestCount">How many there are.</param>
    /// <returns>The last thing asked; keys after <see cref="EscapeAction.End"/> are dropped.</returns>
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
