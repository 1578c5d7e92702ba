using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// Return prediction. A call notes where it will return to and the host code that goes on there, its landing, in a return stack of its
/// level; a return whose target is what the latest call noted goes to that landing, any other through the jump cache. A landing knows only
/// its own block: what follows is linked from it as from any jump. The stacks are emptied whenever a linear address may have come to mean
/// other code (<see cref="Vcpu.FlushJumps"/>, and what else forgets jumps).
/// </summary>
internal sealed unsafe partial class Translator
{
    private static readonly int s_returnTop = StateLayout.Of(nameof(VcpuState.ReturnTop));

    // Of the block in work, which ends with its only call: where the address of the landing is to be filled in.
    private byte* _landing;

    private bool PredictsReturns => JumpCache != 0 && !Single;

    private Mem ReturnTop => Mem.State(s_returnTop + (PositionIndependent ? 1 : 0));

    /// <summary>Notes a call, whose linear return address is in r15. Uses rbp and r15; leaves flags alone.</summary>
    private void EmitNoteCall()
    {
        if (!PredictsReturns)
        {
            return;
        }

        _a.LoadZero8(Host.Rbp, ReturnTop);
        _a.Store(Mem.Quadword(Host.Rbp, StateLayout.ReturnAddresses(PositionIndependent)), Host.R15);
        _landing = _a.LeaCode(Host.R15);
        _a.Store(Mem.Quadword(Host.Rbp, StateLayout.ReturnCode(PositionIndependent)), Host.R15);
        _a.Lea32(Host.Rbp, Mem.At(Host.Rbp, 1));
        _a.Store8(ReturnTop, Host.Rbp);
    }

    /// <summary>Returns to the linear address in r15.</summary>
    private void EmitReturn()
    {
        if (!PredictsReturns)
        {
            EmitLookup();
            return;
        }

        SaveFlags();
        EmitLookupPoll(null);
        _a.LoadZero8(Host.Rbp, ReturnTop);
        _a.Arithmetic32(Alu.Sub, Host.Rbp, 1);
        _a.Store8(ReturnTop, Host.Rbp);
        _a.MoveZero8(Host.Rbp, Host.Rbp);
        _a.Arithmetic(Alu.Cmp, Host.R15, Mem.Quadword(Host.Rbp, StateLayout.ReturnAddresses(PositionIndependent)));
        byte* other = _a.Jump(Condition.NotEqual, _a.Cursor);
        _a.Jump(Mem.Quadword(Host.Rbp, StateLayout.ReturnCode(PositionIndependent)));
        HostAssembler.Patch(other, _a.Cursor);
        EmitProbe(null);
    }

    /// <summary>Where returns from this block's call come to: flags in AX, RAX saved, r15 the linear address.</summary>
    private void EmitLanding(in Instruction call)
    {
        if (_landing == null)
        {
            return;
        }

        HostAssembler.Patch(_landing, _a.Cursor);
        _landing = null;
        _axSaved = true;
        ulong next = call.NextIP;
        if ((next & ~0xFFFul) != _page)
        {
            EmitProbe(null);
            return;
        }

        if (PositionIndependent)
        {
            _a.Lea(Host.R15, Mem.At(Host.R15, -(int)(next - _page)));
            _a.Store(Mem.State(s_codePage), Host.R15);
        }

        if (_flagsLiveAtReturn)
        {
            RestoreFlags();
        }
        else
        {
            _a.Load(Host.Rax, Mem.State(s_saveRax));
            _axSaved = false;
        }

        byte* patch = _a.Jump(_a.Cursor);
        HostAssembler.Patch(patch, _a.Cursor);
        EmitExit(SiteKind.Link, next, 0, patch);
    }

    // Somebody may read, where a call returns to, arithmetic flags that the callee left.
    private bool _flagsLiveAtReturn;
}
