using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Conformance.Tests.Engine;

/// <summary>A vCPU in real mode with A20 on, over all that real mode can reach.</summary>
/// <remarks>Engines use the thread's gs base: make, use and dispose it on one thread that is nobody else's.</remarks>
public sealed class RealModeMachine : IDisposable
{
    private static readonly string[] s_registers = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    private static readonly string[] s_segments = ["es", "cs", "ss", "ds"];

    private readonly GuestMemory _memory = GuestRam.Create([(0, 0x110000)]);
    private readonly List<int> _used = [];
    private readonly IVm _vm;
    private readonly IX86Vcpu _vcpu;
    private readonly X86State _state = new();
    private readonly Timer _watchdog;
    private volatile bool _tooLong;

    /// <summary>Makes a guest under the engine.</summary>
    public RealModeMachine(IEngine engine)
    {
        _vm = engine.Create(_memory);
        _vcpu = _vm.CreateX86Vcpu(0, new SilentHost());
        _vcpu.Save(_state);
        _state.Segments[4] = _state.Segments[5] = new SegmentState(0, 0, 0xFFFF, 0x93);
        _state.Idtr = new TableState(0, 0x3FF);
        _watchdog = new Timer(_ =>
        {
            _tooLong = true;
            _vcpu.Kick();
        });
    }

    /// <summary>A register by its name in small letters.</summary>
    public ushort this[string name]
    {
        get
        {
            int segment = Array.IndexOf(s_segments, name);
            return name == "ip" ? (ushort)_state.Rip : name == "flags" ? (ushort)_state.Rflags
                : segment >= 0 ? _state.Segments[segment].Selector : (ushort)_state.Gpr[Array.IndexOf(s_registers, name)];
        }
    }

    /// <summary>A byte of memory.</summary>
    public byte Byte(int address)
    {
        _memory.TrySlice((ulong)address, 1, out Span<byte> at);
        return at[0];
    }

    /// <summary>Puts registers and memory in place; the rest of memory is zero.</summary>
    public void Load(RealModeState before)
    {
        _state.Cr0 = 0x10;
        _state.Activity = ActivityState.Active;
        _state.Rip = before.Regs["ip"];
        _state.Rflags = (ulong)((before.Regs["flags"] & 0xFFF) | 2);
        for (int i = 0; i < s_registers.Length; i++)
        {
            _state.Gpr[i] = before.Regs[s_registers[i]];
        }

        for (int i = 0; i < s_segments.Length; i++)
        {
            ushort selector = before.Regs[s_segments[i]];
            _state.Segments[i] = new SegmentState(selector, (ulong)selector << 4, 0xFFFF, (ushort)(i == 1 ? 0x9B : 0x93));
        }

        _vcpu.Load(_state);

        // Through the engine, which may hold a translation of what was there.
        foreach (int address in _used)
        {
            _vcpu.WriteLinear((ulong)address, [0]);
        }

        _used.Clear();
        foreach (int[] pair in before.Ram)
        {
            _vcpu.WriteLinear((ulong)pair[0], [(byte)pair[1]]);
            _used.Add(pair[0]);
        }
    }

    /// <summary>Runs to a HLT. Returns null, or what came instead of it.</summary>
    public string? Run()
    {
        _tooLong = false;
        _watchdog.Change(200, Timeout.Infinite);
        VmExit exit;
        do
        {
            exit = _vcpu.Run();
        }
        while (exit == VmExit.Kicked && !_tooLong);

        _watchdog.Change(Timeout.Infinite, Timeout.Infinite);
        _vcpu.Save(_state);
        return exit switch
        {
            VmExit.Halted or VmExit.HaltedWithInterruptsDisabled => null,
            VmExit.Kicked => $"ran on, to {_state.Segments[1].Selector:x}:{_state.Rip:x}",
            _ => $"ended with {exit} at {_state.Segments[1].Selector:x}:{_state.Rip:x}",
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _watchdog.Dispose();
        _vm.Dispose();
        _memory.Dispose();
    }
}
