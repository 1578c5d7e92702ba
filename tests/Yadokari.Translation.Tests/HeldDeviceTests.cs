using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>A vCPU that a device holds, such as a console that nobody reads, holds up neither another vCPU nor a device.</summary>
public sealed class HeldDeviceTests : IDisposable
{
    private const ulong First = 0x1_0000;
    private const ulong Second = 0x2_0000;
    private const ulong Code = 0x3_0000;
    private const ulong Data = 0x10_0000;
    private const byte Port = 0x80;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly ManualResetEventSlim _held = new();
    private readonly ManualResetEventSlim _released = new();
    private readonly FlatPair _pair;
    private bool _timedOut;

    public HeldDeviceTests() => _pair = new FlatPair(new WildHost(1) { PortWritten = Hold });

    /// <inheritdoc/>
    public void Dispose()
    {
        _pair.Dispose();
        _held.Dispose();
        _released.Dispose();
    }

    [Fact]
    public void Others_go_on_and_what_changed_meanwhile_counts_afterwards()
    {
        const int rounds = 1_000;

        // Calls a function, so that its code is known; writes the port; calls it again.
        _pair.Memory.Write(Code, [0xB8, 1, 0, 0, 0, 0xC3]); // mov eax, 1; ret
        Thread first = Start(0, First, a =>
        {
            a.mov(rbx, Code);
            a.call(rbx);
            a.mov(rdx, Data);
            a.mov(__dword_ptr[rdx], eax);
            a.@out(Port, al);
            a.call(rbx);
            a.mov(__dword_ptr[rdx + 4], eax);
        });
        Assert.True(_held.Wait(s_patience, TestContext.Current.CancellationToken));

        // Locked instructions across a page end run alone, each of them.
        Thread second = Start(1, Second, a =>
        {
            Label top = a.CreateLabel();
            a.mov(ecx, rounds);
            a.mov(rbx, Data + 0xFFE);
            a.Label(ref top);
            a.@lock.inc(__dword_ptr[rbx]);
            a.dec(ecx);
            a.jne(top);
        });
        Assert.True(second.Join(s_patience));

        // A device that writes memory has the code dropped that was made of it.
        _pair.Memory.Write(Code + 1, [2]);
        _pair.Vm.MemoryWritten(Code + 1, 1);
        _released.Set();
        Assert.True(first.Join(s_patience));
        _pair.Check();
        Assert.False(_timedOut);
        Assert.Equal((1u, 2u), (Get(Data), Get(Data + 4)));
        Assert.Equal((uint)rounds, Get(Data + 0xFFE));

        Thread Start(int number, ulong at, Action<Assembler> program)
        {
            Thread thread = _pair.Prepare(number, at, program);
            thread.Start();
            return thread;
        }
    }

    // Gives up before the test does, so that a vCPU which waits for this one goes on and the test ends.
    private void Hold(ushort port)
    {
        _held.Set();
        _timedOut = !_released.Wait(s_patience / 4);
    }

    private uint Get(ulong gpa) => (uint)_pair.Get(gpa);
}
