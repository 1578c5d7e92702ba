namespace Yadokari.Guests.Tests;

public sealed class ControlSequencesTests
{
    [Theory]
    [InlineData("Welcome to GR\u001b[03;13H\u001b[03;14HUB!", "Welcome to GRUB!")]
    [InlineData("\u001bc\u001b[?7l\u001b[2J\u001b[0mSeaBIOS", "SeaBIOS")]
    [InlineData("\u001b(B[plain]", "[plain]")]
    public void Are_removed_however_the_text_is_cut(string sent, string shown)
    {
        for (var cut = 0; cut <= sent.Length; cut++)
        {
            var sequences = new ControlSequences();
            var text = "";
            foreach (var piece in new[] { sent[..cut], sent[cut..] })
            {
                var buffer = piece.ToCharArray();
                text += new string(buffer, 0, sequences.RemoveFrom(buffer));
            }

            Assert.Equal(shown, text);
        }
    }
}
