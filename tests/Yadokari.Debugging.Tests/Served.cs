using Yadokari.Debugging.Gdb;

namespace Yadokari.Debugging.Tests;

/// <summary>A scripted machine behind a server on a free port.</summary>
internal sealed class Served : IDisposable
{
    public Served(byte[] code, int vcpus = 1, bool startStopped = false)
    {
        Machine = new ScriptedMachine(code, vcpus, startStopped);
        Server = GdbServer.Start(Machine.Target, 0);
    }

    public ScriptedMachine Machine { get; }

    public GdbServer Server { get; }

    public RawClient Connect() => new(Server.EndPoint);

    /// <summary>Connects until the last client's session is over and this one is let in.</summary>
    public RawClient ConnectWhenFree()
    {
        for (int attempt = 0; attempt < 200; attempt++)
        {
            RawClient client = Connect();
            try
            {
                client.SendRaw("$qAttached#8f");
                if (client.ReadByte() == '+' && client.ReadPacket() == "1")
                {
                    return client;
                }
            }
            catch (Exception exception) when (exception is IOException or Xunit.Sdk.XunitException)
            {
                // Sent away: the last session is not over yet.
            }

            client.Dispose();
            Thread.Sleep(20); // The server does not tell when it is free.
        }

        throw new InvalidOperationException("the server never let a client in");
    }

    /// <summary>The first bytes of the code as they are in guest memory.</summary>
    public byte[] Code(int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Machine.Vcpus[0].ReadLinear(ScriptedMachine.Code, bytes));
        return bytes;
    }

    /// <summary>Returns once the first vCPU has executed something more.</summary>
    public void AwaitProgress()
    {
        long before = Machine.Vcpus[0].Executed;
        Assert.True(SpinWait.SpinUntil(() => Machine.Vcpus[0].Executed > before, TimeSpan.FromSeconds(20)));
    }

    public void Dispose()
    {
        Machine.Dispose();
        Server.Dispose();
    }
}
