using System.Runtime.ExceptionServices;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>
/// Two vCPUs over 2 MiB of memory, which is mapped as it is from address 0. Each runs 64-bit code of level 0 on a thread of its own, until HLT.
/// </summary>
internal sealed class FlatPair : IDisposable
{
    private const ulong PageTables = 0x1000;
    private const ulong StackAbove = 0x8000;

    private ExceptionDispatchInfo? _failure;

    /// <param name="host">The machine around the vCPUs.</param>
    public FlatPair(IX86VcpuHost host)
    {
        Vm = new TranslationEngine { CodeCacheBytes = 1 << 20 }.Create(Memory, 2);
        Vcpus = [Vm.CreateX86Vcpu(0, host), Vm.CreateX86Vcpu(1, host)];
        Put(PageTables, (PageTables + 0x1000) | 3);
        Put(PageTables + 0x1000, (PageTables + 0x2000) | 3);
        Put(PageTables + 0x2000, (PageTables + 0x3000) | 3);
        for (ulong i = 0; i < 512; i++)
        {
            Put(PageTables + 0x3000 + (i * 8), (i << 12) | 3);
        }
    }

    public GuestMemory Memory { get; } = GuestRam.Create([(0, 2 << 20)]);

    public IVm Vm { get; }

    public IX86Vcpu[] Vcpus { get; }

    /// <summary>Writes a program, with a HLT behind it, into memory. The thread that it gives runs it.</summary>
    public Thread Prepare(int number, ulong start, Action<Assembler> program)
    {
        var assembler = new Assembler(64);
        program(assembler);
        assembler.hlt();
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), start);
        Memory.Write(start, stream.ToArray());
        Vm.MemoryWritten(start, (ulong)stream.Length);
        IX86Vcpu vcpu = Vcpus[number];
        return new Thread(() =>
        {
            try
            {
                vcpu.Load(StateAt(vcpu, start));
                Assert.Equal(VmExit.HaltedWithInterruptsDisabled, vcpu.Run());
            }
            catch (Exception e)
            {
                _failure = ExceptionDispatchInfo.Capture(e);
            }
        });
    }

    /// <summary>Throws what a thread met.</summary>
    public void Check() => _failure?.Throw();

    public ulong Get(ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[8];
        Memory.Read(gpa, bytes);
        return BitConverter.ToUInt64(bytes);
    }

    public void Put(ulong gpa, ulong value) => Memory.Write(gpa, BitConverter.GetBytes(value));

    /// <summary>A vCPU's state before its first instruction.</summary>
    public static X86State StateAt(IX86Vcpu vcpu, ulong rip)
    {
        var state = new X86State();
        vcpu.Save(state);
        state.Cr0 = 0x8005_0033;
        state.Cr3 = PageTables;
        state.Cr4 = 0x6A0;
        state.Efer = 0xD00;
        state.Rflags = 2;
        state.Rip = rip;
        state.Activity = ActivityState.Active;
        state.Gpr[4] = rip + StackAbove;
        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = new SegmentState(0x10, 0, uint.MaxValue, 0xC093);
        }

        state.Segments[1] = new SegmentState(0x08, 0, uint.MaxValue, 0xA09B);
        return state;
    }

    public void Dispose()
    {
        Vm.Dispose();
        Memory.Dispose();
    }
}
