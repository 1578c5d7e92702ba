using System.Net;
using System.Net.Sockets;
using System.Text;
using Yadokari.Debugging.Gdb;

namespace Yadokari.Debugging.Tests;

/// <summary>A client of the remote protocol that shows every byte.</summary>
internal sealed class RawClient : IDisposable
{
    private readonly TcpClient _client = new();
    private readonly NetworkStream _stream;

    public RawClient(IPEndPoint server)
    {
        _client.Connect(server);
        _client.ReceiveTimeout = 20_000;
        _stream = _client.GetStream();
    }

    /// <summary>Sends a packet with its checksum, takes the acknowledgement and gives the answer, acknowledged.</summary>
    public string Ask(string packet)
    {
        SendPacket(packet);
        Assert.Equal('+', ReadByte());
        return ReadPacket();
    }

    public void SendPacket(string packet) =>
        SendRaw(Encoding.Latin1.GetString(PacketFraming.Frame(packet)));

    public void SendRaw(string bytes) => _stream.Write(Encoding.Latin1.GetBytes(bytes));

    /// <summary>Reads a packet and acknowledges it.</summary>
    public string ReadPacket()
    {
        Assert.Equal('$', ReadByte());
        var body = new StringBuilder();
        int sum = 0;
        for (char c; (c = ReadByte()) != '#';)
        {
            sum += c;
            if (c == '}')
            {
                c = ReadByte();
                sum += c;
                c = (char)(c ^ 0x20);
            }

            body.Append(c);
        }

        string given = $"{ReadByte()}{ReadByte()}";
        Assert.Equal($"{sum & 0xFF:x2}", given);
        SendRaw("+");
        return body.ToString();
    }

    /// <summary>The next byte; fails at the end of the connection.</summary>
    public char ReadByte()
    {
        int value = _stream.ReadByte();
        Assert.NotEqual(-1, value);
        return (char)value;
    }

    /// <summary>Whether the server closed the connection, once what it sent is read.</summary>
    public bool IsClosed()
    {
        try
        {
            while (_stream.ReadByte() >= 0)
            {
            }

            return true;
        }
        catch (IOException exception) when (exception.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionReset })
        {
            return true;
        }
    }

    public void Dispose() => _client.Dispose();
}
