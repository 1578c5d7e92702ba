using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Debugging.Tests;

/// <summary>
/// A machine of <see cref="ScriptedVcpu"/>s with a thread each, whose loop is the one that a board has to write around a
/// <see cref="DebugGate"/>. Code is mapped at <see cref="Code"/>, a stack page below <see cref="StackTop"/>.
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
    private readonly Thread[] _threads;
    private readonly AutoResetEvent[] _wakeUps;
    private volatile bool _ended;
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
        Vcpus = [.. Enumerable.Range(0, vcpus).Select(NewVcpu)];
        _wakeUps = [.. Vcpus.Select(_ => new AutoResetEvent(false))];
        Gate = new DebugGate(Vcpus, Memory, Host, Wake, () => End(137), startStopped);
        _threads = [.. Vcpus.Select(v => new Thread(() => Drive(v)) { IsBackground = true })];
        foreach (Thread thread in _threads)
        {
            thread.Start();
        }
    }

    public GuestMemory Memory { get; }

    public ScriptedVcpu[] Vcpus { get; }

    public DebugGate Gate { get; }

    public Priorities Host { get; }

    public void End(int exitCode)
    {
        _ended = true;
        Gate.Finish(exitCode);
        for (int i = 0; i < Vcpus.Length; i++)
        {
            Wake(i);
        }
    }

    public void Dispose()
    {
        End(0);
        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        Marshal.FreeHGlobal(_host);
    }

    private void Drive(ScriptedVcpu vcpu)
    {
        bool halted = false;
        while (true)
        {
            Gate.Enter(vcpu.Id);
            if (_ended)
            {
                break;
            }

            if (halted)
            {
                _wakeUps[vcpu.Id].WaitOne();
                continue;
            }

            switch (vcpu.Run())
            {
                case VmExit.Halted or VmExit.HaltedWithInterruptsDisabled:
                    halted = true;
                    if (Gate.IsStepping(vcpu.Id))
                    {
                        Gate.Report(vcpu.Id, DebugStopReason.Debug);
                    }

                    break;
                case VmExit.Debug:
                    Gate.Report(vcpu.Id, DebugStopReason.Debug);
                    break;
                case VmExit.Shutdown:
                    Gate.Report(vcpu.Id, DebugStopReason.Shutdown);
                    End(3);
                    break;
            }
        }

        Gate.Leave(vcpu.Id);
    }

    private void Wake(int vcpu)
    {
        Vcpus[vcpu].Kick();
        _wakeUps[vcpu].Set();
    }

    private ScriptedVcpu NewVcpu(int id)
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
        var vcpu = new ScriptedVcpu(id, Memory);
        vcpu.Load(state);
        return vcpu;
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
