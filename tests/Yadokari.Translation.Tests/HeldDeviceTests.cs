using System.Runtime.ExceptionServices;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Core.State;
using Yadokari.Linux;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>A vCPU that a device holds, such as a console that nobody reads, holds up neither another vCPU nor a device.</summary>
public sealed class HeldDeviceTests : IDisposable
{
    private const ulong PageTables = 0x1000;
    private const ulong First = 0x1_0000;
    private const ulong Second = 0x2_0000;
    private const ulong Code = 0x3_0000;
    private const ulong Data = 0x10_0000;
    private const byte Port = 0x80;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly GuestMemory _memory = GuestRam.Create([(0, 2 << 20)]);
    private readonly ManualResetEventSlim _held = new();
    private readonly ManualResetEventSlim _released = new();
    private readonly IEngineVm _vm;
    private readonly IVcpu[] _vcpus;
    private bool _timedOut;

    public HeldDeviceTests()
    {
        _vm = new TranslationEngine { CodeCacheBytes = 1 << 20 }.CreateVm(_memory, new WildHost(1) { PortWritten = Hold }, 2);
        _vcpus = [_vm.CreateVcpu(0), _vm.CreateVcpu(1)];
        Put(PageTables, (PageTables + 0x1000) | 3);
        Put(PageTables + 0x1000, (PageTables + 0x2000) | 3);
        Put(PageTables + 0x2000, (PageTables + 0x3000) | 3);
        for (ulong i = 0; i < 512; i++)
        {
            Put(PageTables + 0x3000 + (i * 8), (i << 12) | 3);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _vm.Dispose();
        _memory.Dispose();
        _held.Dispose();
        _released.Dispose();
    }

    [Fact]
    public void Others_go_on_and_what_changed_meanwhile_counts_afterwards()
    {
        const int rounds = 1_000;

        // Calls a function, so that its code is known; writes the port; calls it again.
        ExceptionDispatchInfo? failure = null;
        _memory.Write(Code, [0xB8, 1, 0, 0, 0, 0xC3]); // mov eax, 1; ret
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
        _memory.Write(Code + 1, [2]);
        _vm.Written(Code + 1, 1);
        _released.Set();
        Assert.True(first.Join(s_patience));
        failure?.Throw();
        Assert.False(_timedOut);
        Assert.Equal((1u, 2u), (Get(Data), Get(Data + 4)));
        Assert.Equal((uint)rounds, Get(Data + 0xFFE));

        Thread Start(int number, ulong at, Action<Assembler> program)
        {
            var assembler = new Assembler(64);
            program(assembler);
            assembler.hlt();
            using var stream = new MemoryStream();
            assembler.Assemble(new StreamCodeWriter(stream), at);
            _memory.Write(at, stream.ToArray());
            IVcpu vcpu = _vcpus[number];
            var thread = new Thread(() =>
            {
                try
                {
                    vcpu.Load(StateAt(vcpu, at));
                    Assert.Equal(VmExit.HaltedForGood, vcpu.Run());
                }
                catch (Exception e)
                {
                    failure = ExceptionDispatchInfo.Capture(e);
                }
            });
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

    private static X86State StateAt(IVcpu vcpu, ulong rip)
    {
        var state = new X86State();
        vcpu.Save(state);
        state.Cr0 = 0x8005_0033;
        state.Cr3 = PageTables;
        state.Cr4 = 0x6A0;
        state.Efer = 0xD00;
        state.Rflags = 2;
        state.Rip = rip;
        state.Gpr[4] = rip + 0x8000;
        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = new SegmentState(0x10, 0, uint.MaxValue, 0xC093);
        }

        state.Segments[1] = new SegmentState(0x08, 0, uint.MaxValue, 0xA09B);
        return state;
    }

    private uint Get(ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[4];
        _memory.Read(gpa, bytes);
        return BitConverter.ToUInt32(bytes);
    }

    private void Put(ulong gpa, ulong value) => _memory.Write(gpa, BitConverter.GetBytes(value));
}
