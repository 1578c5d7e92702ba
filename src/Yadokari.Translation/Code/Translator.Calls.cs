using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// Near calls and returns. A guest's call is a host's call below its return address in <see cref="Stubs">the return stack</see>: a return
/// to that address is a host's return, which the processor predicts. A return to elsewhere takes one entry off and looks its target up.
/// Nothing polls at a call: whatever runs on for ever either returns, which polls, or fills the return stack, which leaves.
/// </summary>
internal sealed unsafe partial class Translator
{
    private static readonly int s_replacedTop = StateLayout.Of(nameof(VcpuState.ReplacedTop));
    private static readonly int s_hostRsp = StateLayout.Of(nameof(VcpuState.HostRsp));

    /// <summary>Bytes of an entry of the return stack: host address below guest address.</summary>
    private const int ReturnEntry = 16;

    /// <summary>Whether calls and returns use the return stack: where the jump cache is used, which stands in for it.</summary>
    private bool Predicts => JumpCache != 0;

    private void EmitCall(in Instruction instruction)
    {
        EmitPushLinear(instruction.NextIP);
        ulong target = instruction.NearBranchTarget;
        if (!Predicts)
        {
            EmitJump(target, target <= instruction.IP);
            return;
        }

        if (_builder.LiveBefore(_builder.Count) != 0)
        {
            SaveFlags();
        }

        _a.Push(Host.R15);
        AddCold(SiteKind.Poll, EmitDepthCheck(), target);
        AddLink(_a.Call(_a.Cursor), target);
        EmitLanding(instruction.NextIP);
    }

    private void EmitIndirectCall(in Instruction instruction)
    {
        EmitTarget(instruction);
        _a.Store(Mem.State(s_spare), Host.R15);
        EmitPushLinear(instruction.NextIP, keepReplaced: Code64);
        if (!Predicts)
        {
            _a.Load(Host.R15, Mem.State(s_spare));
            EmitLookup();
            return;
        }

        SaveFlags();
        _a.Push(Host.R15);
        _a.Load(Host.R15, Mem.State(s_spare));
        AddLookup(EmitDepthCheck());
        EmitLeave();
        EmitProbe();
        ref ColdExit second = ref AddLookup(_a.Jump(Condition.NotEqual, _a.Cursor), extra: SecondProbe);
        _a.Call(Mem.State(Host.Rbp, JumpCache + 8));
        second.Resume = _a.Cursor;
        EmitLanding(instruction.NextIP);
    }

    private void EmitReturn(in Instruction instruction)
    {
        int top = 0;
        if (_shared.IsShared)
        {
            top = SharedDisplacement(0);
        }
        else
        {
            MoveWord(Host.Rbp, Host.R10);
            EmitCheck(Word, write: false, keepSaved: true);
        }

        LoadWord(Host.R15, Mem.At(Host.Rbp, top));
        LeaWord(Host.R10, Mem.At(Host.R10, Word + (instruction.OpCount == 0 ? 0 : instruction.Immediate16)));
        if (!Predicts)
        {
            EmitLookup();
            return;
        }

        SaveFlags();
        _a.Arithmetic32(Alu.Cmp, Mem.State(s_pending), 0);
        AddLookup(_a.Jump(Condition.NotEqual, _a.Cursor));
        EmitLeave();
        _a.Arithmetic(Alu.Cmp, Host.R15, Mem.At(Host.Rsp, ReturnEntry / 2));
        AddLookup(_a.Jump(Condition.NotEqual, _a.Cursor), extra: Mispredicted);
        _a.Return();
        _axSaved = false;
    }

    /// <summary>With the guest's return address pushed, jumps if the return stack is full; returns where the displacement stands.</summary>
    private byte* EmitDepthCheck()
    {
        _a.Test32(Host.Rsp, Stubs.ReturnStackBytes - ReturnEntry);
        return _a.Jump(Condition.Equal, _a.Cursor);
    }

    /// <summary>Where a call comes back to: flags in AX, RAX saved, r15 the linear address.</summary>
    private void EmitLanding(ulong next)
    {
        _axSaved = true;
        _a.Pop(Host.Rbp);
        if (PositionIndependent)
        {
            _a.Lea(Host.R15, Mem.At(Host.R15, (int)(_page - next)));
            _a.Store(Mem.State(s_codePage), Host.R15);
        }

        EmitJump(next, backward: false);
    }

    /// <summary>Forgets the calls that wait for their return: they were made at another level.</summary>
    private void EmitDropCalls() => _a.Load(Host.Rsp, Mem.State(s_hostRsp));

    private void EmitMispredicted()
    {
        _a.Arithmetic(Alu.Cmp, Host.Rsp, Mem.State(s_hostRsp));
        byte* empty = _a.Jump(Condition.Equal, _a.Cursor);
        _a.Lea(Host.Rsp, Mem.At(Host.Rsp, ReturnEntry));
        HostAssembler.Patch(empty, _a.Cursor);
        EmitProbe();
        AddLookup(_a.Jump(Condition.NotEqual, _a.Cursor), extra: SecondProbe);
        _a.Jump(Mem.State(Host.Rbp, JumpCache + 8));
    }

    private void EmitPushLinear(ulong linear, bool keepReplaced = false)
    {
        int at = EmitPushAddress(keepSaved: true);
        if (keepReplaced)
        {
            // The call may turn out to fault for its target.
            _a.Load(Host.R15, Mem.At(Host.Rbp, at));
            _a.Store(Mem.State(s_replacedTop), Host.R15);
        }

        EmitLinear(Host.R15, linear);
        StoreWord(Mem.At(Host.Rbp, at), Host.R15);
        LeaWord(Host.R10, Mem.At(Host.R10, -Word));
    }
}
