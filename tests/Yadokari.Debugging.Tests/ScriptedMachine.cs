using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Yadokari.Core.Memory;
using Yadokari.Machines;
using Yadokari.Machines.Vcpus;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Debugging.Tests;

/// <summary>
/// <see cref="ScriptedVcpu"/>s on the threads of a real machine, which meet as they do there, with memory and without devices. Code is mapped at
/// <see cref="Code"/>, a stack page below <see cref="StackTop"/>.
/// </summary>
internal sealed class ScriptedMachine : IDisposable
{
    public const ulong Code = 0xFFFF_FFFF_8100_0000;
    public const ulong StackTop = 0xFFFF_C900_0000_1000;

    // inc rax; nop; inc rcx; jmp to the start
    public static readonly byte[] Loop = [0x48, 0xFF, 0xC0, 0x90, 0x48, 0xFF, 0xC1, 0xEB, 0xF7];

    private const int MemorySize = 64 * 4096;
    private const ulong CodePage = 0x8000;
    private const ulong StackPage = 0x9000;
    private const ulong Root = 0x1000;

    private readonly nint _host;
    private readonly VcpuThread[] _threads;
    private readonly Task<MachineEnd> _ended;
    private volatile int _exitCode;
    private int _resets;
    private ulong _nextTable = Root + 0x1000;

    public ScriptedMachine(byte[] code, int vcpus = 1, bool startStopped = false)
    {
        _host = Marshal.AllocHGlobal(MemorySize + 4096);
        nint aligned = (_host + 4095) & ~4095;
        Memory = new GuestMemory([new MemoryRegion(0, MemorySize, aligned)], null);
        Memory.TrySlice(0, MemorySize, out Span<byte> all);
        all.Clear();
        Map(Code, CodePage);
        Map(StackTop - 4096, StackPage);
        Memory.Write(CodePage, code);
        Host = new Priorities(vcpus);
        Vcpus = [.. Enumerable.Range(0, vcpus).Select(id => new ScriptedVcpu(id, Memory))];
        _threads = new VcpuThread[vcpus];
        Run = new VcpuRun(Host, _threads, Reset);
        for (int i = 0; i < vcpus; i++)
        {
            _threads[i] = new VcpuThread(Vcpus[i], Run);
            _threads[i].PowerOn(Start());
        }

        Target = new DebugTarget(Vcpus, Memory, Host, Run, Kill, startStopped);
        _ended = Task.Factory.StartNew(
            () =>
            {
                MachineEnd end = Run.ToEnd();
                Target.Finish(end.Reason == EndReason.TripleFault ? 3 : _exitCode);
                return end;
            },
            TaskCreationOptions.LongRunning);
    }

    public GuestMemory Memory { get; }

    public ScriptedVcpu[] Vcpus { get; }

    public VcpuRun Run { get; }

    public DebugTarget Target { get; }

    public Priorities Host { get; }

    /// <summary>How often it was reset.</summary>
    public int Resets => Volatile.Read(ref _resets);

    /// <summary>Waits for the end.</summary>
    public EndReason Ended()
    {
        Assert.True(_ended.Wait(TimeSpan.FromSeconds(20)), "The machine does not end.");
        return _ended.Result.Reason;
    }

    /// <summary>Ends it and waits until the debugger has been told.</summary>
    public void End(int exitCode)
    {
        _exitCode = exitCode;
        Kill();
        Ended();
    }

    public void Dispose()
    {
        End(0);
        Marshal.FreeHGlobal(_host);
    }

    private static X86State Start()
    {
        var state = new X86State
        {
            Rip = Code,
            Cr0 = 0x8005_0033,
            Cr2 = 0xDEAD_0000,
            Cr3 = Root,
            Cr4 = 0x6F0,
            Efer = 0xD01,
            Xsave = new byte[832],
        };
        state.Gpr[4] = StackTop - 64;
        state.Segments[1] = new SegmentState(0x10, 0, uint.MaxValue, 0xA09B);
        state.Segments[2] = new SegmentState(0x18, 0, uint.MaxValue, 0xC093);
        state.Segments[5] = new SegmentState(0, 0xFFFF_8880_0000_0000, 0, 0);
        state.Msrs[0xC000_0102] = 0x7FFF_0000_1234;
        state.Xsave[512] = 3;
        state.Xsave[0] = 0x7F;
        state.Xsave[1] = 0x03;
        state.Xsave[24] = 0x80;
        state.Xsave[25] = 0x1F;
        state.Xsave[160] = 0x42;
        return state;
    }

    private void Kill() => Run.End(new MachineEnd(EndReason.Stopped));

    private void Reset()
    {
        Array.ForEach(_threads, thread => thread.PowerOn(Start()));
        Interlocked.Increment(ref _resets);
    }

    private void Map(ulong linear, ulong physical)
    {
        ulong table = Root;
        Span<byte> bytes = stackalloc byte[8];
        for (int shift = 39; shift > 12; shift -= 9)
        {
            ulong at = table + ((linear >> shift & 511) * 8);
            Memory.Read(at, bytes);
            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            if (entry == 0)
            {
                entry = _nextTable | 0x23;
                _nextTable += 0x1000;
                BinaryPrimitives.WriteUInt64LittleEndian(bytes, entry);
                Memory.Write(at, bytes);
            }

            table = entry & ~0xFFFUL;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(bytes, physical | 0x163);
        Memory.Write(table + ((linear >> 12 & 511) * 8), bytes);
    }

    /// <summary>A host that has nothing but CR8.</summary>
    internal sealed class Priorities(int vcpus) : IX86VcpuHost
    {
        private readonly byte[] _values = new byte[vcpus];

        public byte ReadTaskPriority(int vcpu) => _values[vcpu];

        public void WriteTaskPriority(int vcpu, byte value) => _values[vcpu] = value;

        public void MmioRead(int vcpu, ulong gpa, Span<byte> data) => throw new NotSupportedException();

        public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data) => throw new NotSupportedException();

        public void PioRead(int vcpu, ushort port, Span<byte> data) => throw new NotSupportedException();

        public void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data) => throw new NotSupportedException();

        public bool ReadMsr(int vcpu, uint index, out ulong value) => throw new NotSupportedException();

        public bool WriteMsr(int vcpu, uint index, ulong value) => throw new NotSupportedException();

        public void TscChanged(int vcpu)
        {
        }

        public bool HasInterrupt(int vcpu) => false;

        public int AcknowledgeInterrupt(int vcpu) => -1;

        public bool Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result) => throw new NotSupportedException();
    }
}
