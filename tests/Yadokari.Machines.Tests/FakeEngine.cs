using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Machines.Tests;

/// <summary>An engine whose guest is a C# function: it touches the machine as instructions would and says how the vCPU leaves.</summary>
internal sealed class FakeEngine(Func<FakeVcpu, VmExit> guest) : IEngine
{
    public string Name => "fake";

    public List<FakeVcpu> Vcpus { get; } = [];

    /// <summary>The frequency of the vCPUs' time-stamp counters, which stand still unless moved.</summary>
    public ulong ClockFrequency { get; init; } = 1_000_000_000;

    /// <summary>How often the clock was set to 0, as at a reset.</summary>
    public int Resets { get; private set; }

    /// <summary>Making a machine fails.</summary>
    public bool FailsVm { get; init; }

    /// <summary>Making a vCPU fails.</summary>
    public bool FailsVcpu { get; init; }

    /// <summary>Called when a vCPU is notified. Any thread.</summary>
    public Action? Notified { get; set; }

    /// <summary>Called when a machine is disposed of.</summary>
    public Action? VmDisposed { get; set; }

    public int VmsDisposed { get; private set; }

    public Support Probe() => Support.Yes;

    public IVm Create(VmSpec spec) => FailsVm ? throw new InvalidOperationException("no machine") : new Vm(this, spec.Memory, guest);

    private sealed class Vm(FakeEngine engine, GuestMemory memory, Func<FakeVcpu, VmExit> guest) : IVm, IGuestClock
    {
        public IGuestClock Clock => this;

        public IDirtyLog DirtyLog => throw new NotSupportedException();

        public ulong Frequency => engine.ClockFrequency;

        public ulong Read() => 0;

        public void Set(ulong value) => engine.Resets += value == 0 ? 1 : 0;

        public void Stop()
        {
        }

        public void Start()
        {
        }

        public void CatchUp()
        {
        }

        public void MemoryWritten(ulong gpa, ulong length)
        {
        }

        public IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics => [("fake", "runs", engine.Vcpus.Sum(v => v.Runs), "")];

        public IVcpu CreateVcpu(int id, IVcpuHost host)
        {
            if (engine.FailsVcpu)
            {
                throw new InvalidOperationException("no vCPU");
            }

            var vcpu = new FakeVcpu(id, memory, (IX86VcpuHost)host, guest, () => engine.Notified?.Invoke());
            engine.Vcpus.Add(vcpu);
            return vcpu;
        }

        public void Dispose()
        {
            engine.Vcpus.ForEach(v => v.Dispose());
            engine.VmsDisposed++;
            engine.VmDisposed?.Invoke();
        }
    }
}

internal sealed class FakeVcpu(int id, GuestMemory memory, IX86VcpuHost host, Func<FakeVcpu, VmExit> guest, Action notified) : IX86Vcpu
{
    private readonly ManualResetEventSlim _kicked = new();
    private volatile bool _disposed;

    public int Id => id;

    public GuestMemory Memory => memory;

    public IX86VcpuHost Host => host;

    public X86State State { get; private set; } = new() { Rip = 0xFFF0 };

    public int Runs { get; private set; }

    public int Loads { get; private set; }

    /// <summary>Called while a state is loaded, with it.</summary>
    public Action<X86State>? OnLoad { get; set; }

    public ulong Tsc { get; set; }

    public ulong ReadTsc() => Tsc;

    /// <summary>Calls of other threads that came once it was disposed of.</summary>
    public int CallsAfterDispose { get; private set; }

    public bool SingleStep { get; set; }

    public VmExit Run()
    {
        Runs++;
        if (_kicked.IsSet)
        {
            _kicked.Reset();
            return VmExit.Kicked;
        }

        return guest(this);
    }

    /// <summary>A loop in the guest, which only a kick ends.</summary>
    public VmExit Spin()
    {
        _kicked.Wait();
        _kicked.Reset();
        return VmExit.Kicked;
    }

    public void Out(ushort port, byte value) => host.PioWrite(id, port, [value]);

    public void Out16(ushort port, ushort value) => host.PioWrite(id, port, [(byte)value, (byte)(value >> 8)]);

    public byte In(ushort port)
    {
        byte[] data = new byte[1];
        host.PioRead(id, port, data);
        return data[0];
    }

    public void Print(string text)
    {
        foreach (char c in text)
        {
            Out(PcLayout.Com1, (byte)c);
        }
    }

    public void Kick()
    {
        Called();
        _kicked.Set();
    }

    public void Notify()
    {
        Called();
        notified();
    }

    public void RaiseNmi() => Called();

    public bool HasNmi => false;

    public void SetA20(bool open)
    {
    }

    public void MemoryWritten(ulong gpa, ulong length)
    {
    }

    public bool CatchExceptions
    {
        get => false;
        set => throw new NotSupportedException();
    }

    public CaughtException Caught => default;

    public void Save(X86State state)
    {
        (state.Rip, state.Cr0, state.Cr3, state.Efer, state.Xcr0) = (State.Rip, State.Cr0, State.Cr3, State.Efer, State.Xcr0);
        State.Gpr.CopyTo(state.Gpr, 0);
        State.Segments.CopyTo(state.Segments, 0);
        state.Xsave = [.. State.Xsave];
        foreach ((uint index, ulong value) in State.Msrs)
        {
            state.Msrs[index] = value;
        }
    }

    public void Load(X86State state)
    {
        Loads++;
        State = state;
        OnLoad?.Invoke(state);
    }

    public bool ReadLinear(ulong address, Span<byte> data) => false;

    public bool WriteLinear(ulong address, ReadOnlySpan<byte> data) => false;

    public void SetBreakpoints(IReadOnlyCollection<ulong> addresses)
    {
    }

    public void Dispose() => _disposed = true;

    private void Called() => CallsAfterDispose += _disposed ? 1 : 0;
}
