using System.Net.Sockets;
using System.Text;
using Xunit;
using Yadokari.Host.Control;

namespace Yadokari.Host.Tests;

public sealed class ControlServerTests : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"yadokari-{Guid.NewGuid():n}");
    private readonly List<string> _done = []; // Guarded by itself.
    private readonly StringBuilder _typed = new(); // Guarded by _done.
    private readonly ControlServer _server;
    private int _room = int.MaxValue; // Guarded by _done.

    public ControlServerTests()
    {
        _server = ControlServer.Open(_path);
        _server.Begin(new MonitorControls(
            () => Note("power"), code => Note($"end {code}"), Type, (rows, columns) => Note($"size {rows} {columns}"), wanted => ((wanted ?? 7) * 2, 100), error => Note($"fail {error.Message}")));
    }

    [Theory]
    [InlineData("power", "ok", "power")]
    [InlineData("kill", "ok", "end 137")]
    [InlineData("size 33 99", "ok", "size 33 99")]
    [InlineData("balloon", "ok\n14 100", "")]
    [InlineData("balloon 4096", "ok\n8192 100", "")]
    [InlineData("size 33", "no such request\n", "")]
    [InlineData("size 33 70000", "no such request\n", "")]
    [InlineData("dance", "no such request\n", "")]
    public void A_request_is_done_and_answered(string request, string answer, string done)
    {
        using Socket client = Ask(request);
        Assert.StartsWith(answer, ReadToEnd(client), StringComparison.Ordinal); // A machine that is killed may say ok twice.
        Assert.Equal(done, string.Join(' ', Done()));
    }

    [Fact]
    public void What_is_typed_waits_for_room_and_all_arrives_in_order()
    {
        lock (_done)
        {
            _room = 100;
        }

        using Socket client = Ask("console");
        string keys = string.Join(' ', Enumerable.Range(0, 2000));
        client.Send(Encoding.ASCII.GetBytes(keys));
        Assert.True(SpinWait.SpinUntil(() => Typed() == keys[..100], 5000), Typed());
        for (int room = 100; room < keys.Length; room += 500)
        {
            Assert.StartsWith(Typed(), keys, StringComparison.Ordinal);
            lock (_done)
            {
                _room = room + 500;
            }
        }

        Assert.True(SpinWait.SpinUntil(() => Typed() == keys, 5000), Typed());
    }

    [Fact]
    public void Who_watches_sees_what_came_lately_and_what_comes()
    {
        _server.Show("before "u8);
        using Socket client = Ask("console");
        byte[] piece = new byte[64];
        var seen = new StringBuilder();
        while (!seen.ToString().EndsWith("before ", StringComparison.Ordinal))
        {
            seen.Append(Encoding.ASCII.GetString(piece, 0, client.Receive(piece)));
        }

        _server.Show("after"u8);
        _server.Dispose();
        Assert.Equal("ok\nbefore after", seen + ReadToEnd(client));
        Assert.False(File.Exists(_path));
    }

    public void Dispose() => _server.Dispose();

    private Socket Ask(string request)
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 10_000 };
        client.Connect(new UnixDomainSocketEndPoint(_path));
        client.Send(Encoding.ASCII.GetBytes(request + "\n"));
        return client;
    }

    private static string ReadToEnd(Socket client)
    {
        using var reader = new StreamReader(new NetworkStream(client), Encoding.ASCII);
        return reader.ReadToEnd();
    }

    private int Type(ReadOnlySpan<byte> keys)
    {
        lock (_done)
        {
            int taken = Math.Min(keys.Length, _room - _typed.Length);
            _typed.Append(Encoding.ASCII.GetString(keys[..taken]));
            return taken;
        }
    }

    private string Typed()
    {
        lock (_done)
        {
            return _typed.ToString();
        }
    }

    private void Note(string what)
    {
        lock (_done)
        {
            _done.Add(what);
        }
    }

    private string[] Done()
    {
        lock (_done)
        {
            return [.. _done];
        }
    }
}
