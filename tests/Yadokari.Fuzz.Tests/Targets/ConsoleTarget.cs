using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Networks;
using Yadokari.Devices.Virtio;
using Yadokari.Fuzz.Tests.Guests;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>A console, or ports by name, with programs of the host's that come and go, and take what the guest says in pieces.</summary>
internal sealed class ConsoleTarget : Target
{
    private const ulong SeveralPorts = 2;

    private readonly VirtioConsole _console;
    private readonly WildHost[] _hosts;

    public ConsoleTarget(bool named)
    {
        _hosts = [.. Enumerable.Range(0, named ? 4 : 1).Select(i => new WildHost(i))];
        _console = named ? VirtioConsole.Ports([.. _hosts.Select((host, i) => ($"port.{i}", (IPortHost)host))]) : VirtioConsole.Console(_hosts[0]);
    }

    public override VirtioDevice Device => _console;

    public override bool Answers(int queue) => queue == 1 || (queue % 2 == 1 && (_console.Accepted & SeveralPorts) != 0);

    public override Request Make(Random random, int queue)
    {
        if (queue % 2 == 0)
        {
            return new Request([], random.Next(4) == 0 ? random.Next(20) : random.Next(5000));
        }

        return new Request(queue == 3 ? Mutate(random, Message((uint)random.Next(5), random.Next(8), random.Next(2))) : new byte[random.Next(9000)], 0);
    }

    public override string Judge(int queue, byte[] reply, uint written) => queue == 2 && written >= 8 ? "message" : queue % 2 == 0 ? "typed" : "said";

    public override void Outside(Random random)
    {
        if (random.Next(2) == 0)
        {
            _hosts[random.Next(_hosts.Length)].Type(random.Next(3000));
        }

        if (random.Next(8) == 0)
        {
            _hosts[random.Next(_hosts.Length)].ComeOrGo();
        }

        if (random.Next(8) == 0)
        {
            _console.Resize(random.Next(200), random.Next(70_000));
        }
    }

    public override void Work(Driver driver, Random random)
    {
        int queue = 1;
        int port = 0;
        if (_hosts.Length > 1)
        {
            port = random.Next(_hosts.Length);
            queue = port == 0 ? 1 : (2 * port) + 3;
            driver.Ask(3, Message(uint.MaxValue, 0, 1), 0);
            driver.Ask(3, Message((uint)port, 3, 1), 0);
            driver.Ask(3, Message((uint)port, 6, 1), 0);

            // The device tells of all its ports, and of this one's name.
            bool named = false;
            while (!named)
            {
                byte[] message = driver.Ask(2, new Request([], 100), out uint written);
                named = written > 8 && BinaryPrimitives.ReadUInt32LittleEndian(message) == port && Encoding.ASCII.GetString(message, 8, (int)written - 8) == $"port.{port}";
            }
        }

        string said = $"said {random.Next()}";
        driver.Ask(queue, Encoding.ASCII.GetBytes(said), 0);
        Assert.EndsWith(said, _hosts[port].Heard, StringComparison.Ordinal);
        _hosts[port].Type(5);
        Assert.True(driver.Waiting(queue - 1) > 0 || driver.TrySubmit(queue - 1, new Request([], 100)));
        uint count = 0;
        Slot.WaitFor(() => driver.TryTake(queue - 1, out _, out count), "what was typed");
        Assert.NotEqual(0u, count);
    }

    private static byte[] Message(uint port, int what, int value)
    {
        byte[] message = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(message, port);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(4), (ushort)what);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(6), (ushort)value);
        return message;
    }

    /// <summary>One who takes a part at a time, and goes on a moment later.</summary>
    private sealed class WildHost(int seed) : IPortHost
    {
        private const int Remembered = 100;

        private readonly Lock _lock = new();
        private readonly Random _random = new(seed);
        private string _heard = "";
        private int _typed;

        public Action? Ready { get; set; }

        public bool IsConnected { get; private set; } = true;

        public string Heard
        {
            get
            {
                lock (_lock)
                {
                    return _heard;
                }
            }
        }

        public void Type(int count)
        {
            lock (_lock)
            {
                _typed = Math.Min(_typed + count, 1 << 20);
            }

            Ready?.Invoke();
        }

        public void ComeOrGo()
        {
            IsConnected = !IsConnected;
            Ready?.Invoke();
        }

        public int Read(Span<byte> data)
        {
            lock (_lock)
            {
                int count = Math.Min(_typed, data.Length);
                data[..count].Fill((byte)'t');
                _typed -= count;
                return count;
            }
        }

        public int Write(ReadOnlySpan<byte> data)
        {
            int taken;
            lock (_lock)
            {
                taken = _random.Next(4) == 0 ? _random.Next(data.Length + 1) : data.Length;
                _heard += Encoding.ASCII.GetString(data[..taken]);
                _heard = _heard[Math.Max(0, _heard.Length - Remembered)..];
            }

            if (taken < data.Length)
            {
                Task.Run(() => Ready?.Invoke());
            }

            return taken;
        }

        public void Dispose()
        {
        }
    }
}
