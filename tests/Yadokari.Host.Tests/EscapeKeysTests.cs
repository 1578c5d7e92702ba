using System.Text;
using Xunit;
using Yadokari.Host.Consoles;

namespace Yadokari.Host.Tests;

public sealed class EscapeKeysTests
{
    private readonly EscapeKeys _escapes = new();

    private (string ForGuest, EscapeAction Action) Feed(string keys)
    {
        Span<byte> forGuest = new byte[keys.Length + 1];
        EscapeAction action = _escapes.Feed(Encoding.Latin1.GetBytes(keys), forGuest, out int count);
        return (Encoding.Latin1.GetString(forGuest[..count]), action);
    }

    [Fact]
    public void Keys_go_to_the_guest_among_them_the_ones_that_signal() =>
        Assert.Equal(("ls\r\x03\x1a\x04xh", EscapeAction.None), Feed("ls\r\x03\x1a\x04xh"));

    [Fact]
    public void Control_a_x_ends_and_what_follows_is_dropped() =>
        Assert.Equal(("a", EscapeAction.End), Feed("a\x01xrm -rf"));

    [Fact]
    public void Control_a_h_helps() => Assert.Equal(("ab", EscapeAction.Help), Feed("a\x01hb"));

    [Theory]
    [InlineData("\x01\x01")]
    [InlineData("\x01" + "a")]
    public void Control_a_can_be_sent(string keys) => Assert.Equal(("\x01", EscapeAction.None), Feed(keys));

    [Fact]
    public void Control_a_with_any_other_key_sends_both() => Assert.Equal(("\x01z", EscapeAction.None), Feed("\x01z"));

    [Fact]
    public void The_escape_lives_across_reads()
    {
        Assert.Equal(("", EscapeAction.None), Feed("\x01"));
        Assert.Equal(("", EscapeAction.End), Feed("x"));
    }

    [Fact]
    public void A_pending_escape_can_make_more_keys_than_were_read()
    {
        Feed("\x01");
        Assert.Equal(("\x01z", EscapeAction.None), Feed("z"));
    }
}
