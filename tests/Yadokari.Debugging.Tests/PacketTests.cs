using System.Text;
using Yadokari.Debugging.Gdb;

namespace Yadokari.Debugging.Tests;

public sealed class PacketTests
{
    [Theory]
    [InlineData("OK", "$OK#9a")]
    [InlineData("", "$#00")]
    [InlineData("a}b", "$a}]b#9d")]
    [InlineData("#", "$}\u0003#80")]
    [InlineData("$", "$}\u0004#81")]
    [InlineData("*", "$}\u000a#87")]
    public void Frames_escape_what_the_protocol_reserves(string reply, string packet) =>
        Assert.Equal(packet, Encoding.Latin1.GetString(PacketFraming.Frame(reply)));

    [Fact]
    public void Every_byte_survives_framing_and_reading()
    {
        string all = string.Concat(Enumerable.Range(0, 256).Select(i => (char)i));
        var reader = new PacketReader(1024);
        Assert.Equal([ClientEvent.Packet], Feed(reader, Encoding.Latin1.GetString(PacketFraming.Frame(all))));
        Assert.Equal(all, Encoding.Latin1.GetString(reader.Packet));
    }

    [Theory]
    [InlineData("$g#68")]
    [InlineData("$g#xx")]
    [InlineData("$g#")]
    public void A_bad_checksum_is_no_packet(string bytes) => Assert.DoesNotContain(ClientEvent.Packet, Feed(new PacketReader(64), bytes));

    [Fact]
    public void Checksums_may_be_ignored_without_acknowledgements() =>
        Assert.Equal([ClientEvent.Packet], Feed(new PacketReader(64) { CheckSums = false }, "$g#zz"));

    [Fact]
    public void Noise_before_a_packet_is_skipped_and_a_dollar_starts_over()
    {
        var reader = new PacketReader(64);
        Assert.Equal([ClientEvent.Packet], Feed(reader, "GET / HTTP/1.1\r\n+$half a pa$g#67"));
        Assert.Equal("g", Encoding.Latin1.GetString(reader.Packet));
    }

    [Fact]
    public void Ctrl_C_counts_between_packets_only()
    {
        var reader = new PacketReader(64);
        Assert.Equal([ClientEvent.Interrupt, ClientEvent.Packet, ClientEvent.Resend], Feed(reader, "\u0003$\u0003#03-"));
        Assert.Equal([3], reader.Packet);
    }

    [Fact]
    public void A_packet_over_the_limit_is_swallowed_and_the_next_is_read()
    {
        var reader = new PacketReader(16);
        string longPacket = Encoding.Latin1.GetString(PacketFraming.Frame(new string('a', 17)));
        Assert.Equal([ClientEvent.BadPacket, ClientEvent.Packet], Feed(reader, longPacket + "$g#67"));
    }

    [Fact]
    public void Random_bytes_never_throw()
    {
        var random = new Random(1);
        var reader = new PacketReader(32);
        byte[] bytes = new byte[200_000];
        random.NextBytes(bytes);
        foreach (byte value in bytes)
        {
            reader.Push(value);
            Assert.True(reader.Packet.Length <= 32);
        }
    }

    private static List<ClientEvent> Feed(PacketReader reader, string bytes) =>
        [.. Encoding.Latin1.GetBytes(bytes).Select(reader.Push).Where(e => e != ClientEvent.None)];
}
