namespace Yadokari.Guests.Tests;

/// <summary>Removes a terminal's control sequences (ECMA-48, 5.3 and 5.4) from text that comes in pieces.</summary>
internal sealed class ControlSequences
{
    private const char Escape = '\u001b';

    private State _state;

    private enum State
    {
        Text,
        Escaped,
        Sequence,
    }

    /// <summary>Moves what remains to the front of <paramref name="piece"/> and returns its length.</summary>
    public int RemoveFrom(Span<char> piece)
    {
        var length = 0;
        foreach (var c in piece)
        {
            switch (_state)
            {
                case State.Text when c != Escape:
                    piece[length++] = c;
                    break;
                case State.Text:
                    _state = State.Escaped;
                    break;
                case State.Escaped:
                    _state = c == '[' ? State.Sequence : IsFinal(c, first: '0') ? State.Text : State.Escaped;
                    break;
                case State.Sequence:
                    _state = IsFinal(c, first: '@') ? State.Text : State.Sequence;
                    break;
            }
        }

        return length;
    }

    private static bool IsFinal(char c, char first) => c >= first && c <= '~';
}
