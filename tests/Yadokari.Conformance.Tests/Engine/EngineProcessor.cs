using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Conformance.Tests.Engine;

/// <summary>An engine as a subject: programs run in ring 3 of a guest that has nothing but them.</summary>
/// <remarks>Engines use the thread's gs base: make, use and dispose it on one thread that is nobody else's.</remarks>
public sealed class EngineProcessor : ISubject
{
    private readonly GuestMemory _memory;
    private readonly IVm _vm;
    private readonly IX86Vcpu _vcpu;
    private readonly X86State _state = new();
    private readonly Timer _watchdog;
    private volatile bool _tooLong;

    /// <summary>Makes a guest under the engine.</summary>
    public EngineProcessor(IEngine engine)
    {
        _memory = GuestRam.Create([(0, GuestTables.RamLength)]);
        GuestTables.Write(_memory);
        _vm = engine.Create(_memory);
        _vcpu = _vm.CreateX86Vcpu(0, new SilentHost());
        _vcpu.Save(_state);
        _watchdog = new Timer(_ =>
        {
            _tooLong = true;
            _vcpu.Kick();
        });
    }

    /// <inheritdoc/>
    public void Run(MachineImage before, Outcome after)
    {
        LoadState(before);
        LoadMemory(before);
        _tooLong = false;
        _watchdog.Change(3000, Timeout.Infinite);
        VmExit exit;
        do
        {
            exit = _vcpu.Run();
        }
        while (exit == VmExit.Kicked && !_tooLong);

        _watchdog.Change(Timeout.Infinite, Timeout.Infinite);
        _vcpu.Save(_state);
        if (exit is VmExit.Halted or VmExit.HaltedWithInterruptsDisabled)
        {
            ReadOutcome(after);
        }
        else if (exit == VmExit.Kicked)
        {
            after.Vector = Outcome.TimedOut;
            after.Rip = _state.Rip;
        }
        else
        {
            throw new InvalidOperationException($"The guest ended with {exit} at {_state.Rip:X}.");
        }

        _memory.Read(GuestTables.Arena, after.Memory);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _watchdog.Dispose();
        _vm.Dispose();
        _memory.Dispose();
    }

    private void LoadState(MachineImage before)
    {
        GuestTables.Initialise(_state, before.Segments);
        before.Gpr.CopyTo(_state.Gpr, 0);
        _state.Rip = before.Rip;
        _state.Rflags = before.Rflags | 0x202;
        _state.Cr2 = 0;
        _state.Activity = ActivityState.Active;
        if (_state.Xsave.Length < XsaveLayout.Length)
        {
            _state.Xsave = new byte[XsaveLayout.Length];
        }

        before.Xsave.CopyTo(_state.Xsave, 0);
        (_state.X87CodeSelector, _state.X87DataSelector) = (0, 0);
        _vcpu.Load(_state);
    }

    private void LoadMemory(MachineImage before)
    {
        // Code goes through the engine, which may hold a translation of what it replaces; data straight to memory.
        for (int page = 0; page < Arena.CodeLength; page += Arena.PageSize)
        {
            _memory.TrySlice(GuestTables.Arena + (ulong)page, Arena.PageSize, out Span<byte> now);
            ReadOnlySpan<byte> wanted = before.Memory.AsSpan(page, Arena.PageSize);
            int first = wanted.CommonPrefixLength(now);
            if (first == Arena.PageSize)
            {
                continue;
            }

            int last = Arena.PageSize;
            while (now[last - 1] == wanted[last - 1])
            {
                last--;
            }

            if (!_vcpu.WriteLinear(Arena.Code + (ulong)(page + first), wanted[first..last]))
            {
                throw new InvalidOperationException("The engine can't write the guest's code pages.");
            }
        }

        _memory.Write(GuestTables.Arena + Arena.CodeLength, before.Memory.AsSpan(Arena.CodeLength));
    }

    private void ReadOutcome(Outcome after)
    {
        int vector = GuestTables.VectorOf(_state.Rip);
        if (vector < 0)
        {
            throw new InvalidOperationException($"The guest halted at {_state.Rip:X}, which is no handler.");
        }

        _state.Gpr.CopyTo(after.Gpr, 0);
        ulong frame = _state.Gpr[4] - GuestTables.System;
        bool hasErrorCode = vector is 8 or (>= 10 and <= 14) or 17;
        after.Vector = vector;
        after.ErrorCode = hasErrorCode ? GuestTables.Get(_memory, frame) : 0;
        frame += hasErrorCode ? 8UL : 0;
        after.Rip = GuestTables.Get(_memory, frame);
        after.Rflags = GuestTables.Get(_memory, frame + 16);
        after.Gpr[4] = GuestTables.Get(_memory, frame + 24);
        after.FaultAddress = vector == 14 ? _state.Cr2 : 0;
        _state.Xsave.AsSpan(0, XsaveLayout.Length).CopyTo(after.Xsave);
        XsaveLayout.Complete(after.Xsave);
    }
}
