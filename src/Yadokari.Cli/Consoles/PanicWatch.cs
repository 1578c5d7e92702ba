namespace Yadokari.Cli.Consoles;

/// <summary>
/// Looks for the line by which Linux tells its panic in what the guest prints. It only explains a reset that comes after it, so a
/// program in the guest that prints the same words does no harm.
/// </summary>
internal sealed class PanicWatch
{
    private static ReadOnlySpan<byte> Words => "Kernel panic - not syncing"u8;

    private int _matched;

    /// <summary>Whether the words were seen.</summary>
    public bool Panicked { get; private set; }

    /// <summary>Takes the guest's output as it comes.</summary>
    public void Feed(ReadOnlySpan<byte> output)
    {
        foreach (byte value in output)
        {
            // The first byte occurs only once in the words, so a mismatch can only start over at it.
            _matched = value == Words[_matched] ? _matched + 1 : value == Words[0] ? 1 : 0;
            if (_matched == Words.Length)
            {
                Panicked = true;
                _matched = 0;
            }
        }
    }
}
