using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// Near calls and returns. A guest call pushes its return address to the <see cref="Stubs">return stack</see> and makes a host CALL, so that the
/// return to that address is a host RET, which the processor predicts. A return to another address drops one entry and looks its target up. Calls
/// do not poll: an endless sequence of calls either returns, which polls, or fills the return stack, which exits.
/// </summary>
internal sealed unsafe partial class Translator
{
    private static readonly int s_replacedTop = StateLayout.Of(nameof(VcpuState.ReplacedTop));
    private static readonly int s_hostRsp = StateLayout.Of(nameof(VcpuState.HostRsp));

    /// <summary>Bytes of an entry of the return stack: host address below guest address.</summary>
    private const int ReturnEntry = 16;

    /// <summary>Whether calls and returns use the return stack: in modes with a jump cache, by which a mispredicted return is looked up.</summary>
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

    /// <summary>Emits a jump that is taken if the return stack is full, after the guest's return address was pushed; returns its displacement.</summary>
    private byte* EmitDepthCheck()
    {
        _a.Test32(Host.Rsp, Stubs.ReturnStackBytes - ReturnEntry);
        return _a.Jump(Condition.Equal, _a.Cursor);
    }

    /// <summary>Emits the code at which a call returns: flags in AX, RAX saved, r15 the linear address.</summary>
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

    /// <summary>Drops the return stack, whose calls were made at another privilege level.</summary>
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
            // Saves the quadword, because the call may fault for its target.
            _a.Load(Host.R15, Mem.At(Host.Rbp, at));
            _a.Store(Mem.State(s_replacedTop), Host.R15);
        }

        EmitLinear(Host.R15, linear);
        StoreWord(Mem.At(Host.Rbp, at), Host.R15);
        LeaWord(Host.R10, Mem.At(Host.R10, -Word));
    }
}
