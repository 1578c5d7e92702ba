using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>Translation of control transfers and stack instructions, and the entries and exits of a block.</summary>
internal sealed unsafe partial class Translator
{
    // Displacement of the jump at a block's start that is taken if the SIMD state is not loaded.
    private byte* _noSimd;

    private const int DirectLookup = 1;
    private const int SecondProbe = 2;
    private const int Mispredicted = 3;

    private static readonly int s_reportedRuns = StateLayout.Of(nameof(VcpuState.ReportedRuns));

    /// <summary>The entries of a block; see <see cref="Block.AxEntry"/> and <see cref="Block.Entry"/>.</summary>
    private void EmitEntry()
    {
        _current = 0;
        _block.AxEntry = _cache.Executable(_a.Cursor);
        if (PositionIndependent)
        {
            _a.Arithmetic(Alu.And, Host.R15, -4096);
            _a.Store(Mem.State(s_codePage), Host.R15);
        }

        _block.SavedEntry = _cache.Executable(_a.Cursor);
        if (_block.UsesSimd)
        {
            _a.Arithmetic32(Alu.Cmp, Mem.State(s_simdLive), 0);
            _noSimd = _a.Jump(Condition.Equal, _a.Cursor);
        }

        if (_builder.LiveBefore(0) != 0)
        {
            _a.RestoreFlagsFromAx();
        }

        _a.Load(Host.Rax, Mem.State(s_saveRax));
        _block.Entry = _block.LiveEntry = _cache.Executable(_a.Cursor);
        if (_crossing && !_bounce)
        {
            SaveFlags();
            _a.Arithmetic32Wide(Alu.Cmp, Mem.State(StateLayout.Of(_global ? nameof(VcpuState.GlobalFetchEpoch) : nameof(VcpuState.FetchEpoch))), _epoch);
            ref ColdExit recheck = ref AddCold(SiteKind.Recheck, _a.Jump(Condition.NotEqual, _a.Cursor), _builder[0].IP);
            recheck.Resume = _a.Cursor - 10;
            RestoreFlags();
        }

        if (ReportsRuns)
        {
            // Increments by LEA, which preserves the flags.
            _a.Load32(Host.R15, Mem.State(s_reportedRuns));
            _a.Lea32(Host.R15, Mem.At(Host.R15, 1));
            _a.Store32(Mem.State(s_reportedRuns), Host.R15);
        }
    }

    /// <summary>The entry of a block that uses SIMD, for jumps after which the SIMD state may not be loaded.</summary>
    private void EmitSimdEntry()
    {
        _axSaved = false;
        _block.Entry = _cache.Executable(_a.Cursor);
        SaveFlags();
        _axSaved = false;
        _a.Jump(_cache.Writable(_block.SavedEntry));
    }

    private void EmitEmulate(in Instruction instruction)
    {
        _emulated.Add(instruction);
        EmitExit(SiteKind.Emulate, instruction.IP, _emulated.Count - 1, null);
    }

    private void EmitStep(ulong next) => EmitExit(SiteKind.Step, next, 0, null);

    /// <summary>Emits an exit at the cursor. The guest's flags are in the host's flags, or saved in AX.</summary>
    private Site* EmitExit(SiteKind kind, ulong linear, int extra, byte* resume, byte size = 0, bool write = false)
    {
        _a.Call(_axSaved ? _stubs.ExitAx : _stubs.ExitPlain);
        var site = (Site*)_a.Cursor;
        site->Block = _block.Id;
        site->GuestOffset = (int)(linear - _page);
        site->Resume = resume == null ? 0 : (int)(resume - (byte*)site);
        site->Extra = extra;
        site->Kind = kind;
        site->Size = size;
        site->Write = write ? (byte)1 : (byte)0;
        site->Base = 0;
        _a.Cursor += sizeof(Site);
        return site;
    }

    private void EmitCold()
    {
        if (_block.UsesSimd)
        {
            HostAssembler.Patch(_noSimd, _a.Cursor);
            _a.Arithmetic32(Alu.Cmp, Mem.State(s_extendedAway), 0);
            byte* away = _a.Jump(Condition.NotEqual, _a.Cursor);
            _a.Call(_stubs.RestoreSimd);
            _a.Jump(_noSimd + 4);
            HostAssembler.Patch(away, _a.Cursor);
            _axSaved = true;
            EmitStep(_builder[0].IP);
        }

        for (int i = 0; i < _builder.ExitCount; i++)
        {
            ref ColdExit cold = ref _builder.Exit(i);
            byte* here = _a.Cursor;
            HostAssembler.Patch(cold.Patch, here);
            _axSaved = cold.Ax;
            switch (cold.Kind)
            {
                case SiteKind.Miss:
                    _a.Arithmetic(Alu.Sub, Host.Rbp, Mem.State(Host.R15, cold.Tlb));
                    Site* miss = EmitExit(SiteKind.Miss, cold.Linear, cold.Extra, cold.Resume, cold.Size, cold.Write);
                    miss->Base = cold.Base;
                    if (cold.ResumeAx)
                    {
                        // The code is resumed with the guest's flags in the host's flags.
                        miss->Resume = (int)(_a.Cursor - (byte*)miss);
                        _axSaved = false;
                        SaveFlags();
                        _a.Jump(cold.Resume);
                    }

                    break;
                case SiteKind.Limit:
                    EmitExit(SiteKind.Limit, cold.Linear, 0, null, cold.Size, cold.Write);
                    break;
                case SiteKind.Link:
                    EmitExit(SiteKind.Link, cold.Linear, cold.Ax ? 1 : 0, cold.Patch);
                    break;
                case SiteKind.Lookup when cold.Extra == DirectLookup:
                    EmitLinear(Host.R15, cold.Linear);
                    EmitLookup(ReportsRuns ? null : cold.Patch);
                    break;
                case SiteKind.Lookup when cold.Extra == SecondProbe:
                    EmitSecondProbe(cold);
                    break;
                case SiteKind.Lookup when cold.Extra == Mispredicted:
                    EmitMispredicted();
                    break;
                case SiteKind.Lookup:
                    _a.Move(Host.Rbp, Host.R15);
                    EmitExit(SiteKind.Lookup, _page, cold.LinkAx ? 1 : 0, cold.Link);
                    break;
                case SiteKind.Recheck:
                    EmitExit(SiteKind.Recheck, cold.Linear, 0, cold.Resume);
                    break;
                default:
                    EmitExit(cold.Kind, cold.Linear, cold.Extra, null);
                    break;
            }
        }

        _axSaved = false;
    }

    private ref ColdExit AddCold(SiteKind kind, byte* patch, ulong linear, int extra = 0)
    {
        ref ColdExit exit = ref _builder.AddExit(kind, patch);
        exit.Linear = linear;
        exit.Ax = _axSaved;
        exit.Extra = extra;
        return ref exit;
    }

    /// <summary>
    /// Whether a direct jump may be linked: within the page, or to another page from a block that is bound to its linear address (the link is valid
    /// while the mapping of the target's page is unchanged: <see cref="CrossPageLinks"/>).
    /// </summary>
    private bool CanLink(ulong linear)
        => (linear & ~0xFFFul) == _page || (!PositionIndependent && (Code64 || Flat32) && (long)(linear - _page) == (int)(linear - _page));

    private bool _crossing => ((_builder.Last.NextIP - 1) & ~0xFFFul) != _page;

    /// <summary>Emits a direct jump: linked within the page, looked up beyond it. Saved flags stay in AX.</summary>
    private void EmitJump(ulong target, bool backward)
    {
        if (!Code64)
        {
            target = (uint)target;
        }

        if (Single)
        {
            RestoreFlagsIfSaved();
            EmitStep(target);
            return;
        }

        if (backward)
        {
            EmitPoll(target);
        }

        AddLink(_a.Jump(_a.Cursor), target);
        _axSaved = false;
    }

    /// <summary>
    /// Emits a direct jump that is linked when it is first taken. Position-independent code links a jump to another page by a lookup; that link is valid
    /// until mappings change.
    /// </summary>
    private void AddLink(byte* displacement, ulong target)
        => AddCold(CanLink(target) ? SiteKind.Link : SiteKind.Lookup, displacement, target, DirectLookup);

    private void EmitPoll(ulong target)
    {
        if (!_axSaved && _builder.LiveBefore(_builder.Count) != 0)
        {
            SaveFlags();
        }

        _a.Arithmetic32(Alu.Cmp, Mem.State(s_pending), 0);
        AddCold(SiteKind.Poll, _a.Jump(Condition.NotEqual, _a.Cursor), target);
    }

    /// <summary>Emits a jump to the linear address in r15, through the jump cache, or by an exit on a miss.</summary>
    private void EmitLookup(byte* link = null)
    {
        int cache = JumpCache;
        if (cache == 0 || Single)
        {
            _a.Move(Host.Rbp, Host.R15);
            EmitExit(SiteKind.Lookup, _page, 0, null);
            _axSaved = false;
            return;
        }

        bool linkAx = _axSaved;
        SaveFlags();
        _a.Arithmetic32(Alu.Cmp, Mem.State(s_pending), 0);
        AddLookup(_a.Jump(Condition.NotEqual, _a.Cursor), link, linkAx);
        EmitLeave();
        EmitProbe();
        AddLookup(_a.Jump(Condition.NotEqual, _a.Cursor), link, linkAx, SecondProbe);
        _a.Jump(Mem.State(Host.Rbp, cache + 8));
        _axSaved = false;
    }

    // Exits if the program is to run directly, where it leaves a page that must be translated.
    private void EmitLeave()
    {
        if (ReportsRuns)
        {
            _a.Arithmetic32(Alu.Cmp, Mem.State(s_directWanted), 0);
            AddLookup(_a.Jump(Condition.NotEqual, _a.Cursor));
        }
    }

    private ref ColdExit AddLookup(byte* patch, byte* link = null, bool linkAx = false, int extra = 0)
    {
        ref ColdExit exit = ref AddCold(SiteKind.Lookup, patch, 0, extra);
        exit.Link = link;
        exit.LinkAx = linkAx;
        return ref exit;
    }

    /// <summary>Compares the target in r15 with its entry of the jump cache, and puts the entry's offset into rbp.</summary>
    private void EmitProbe()
    {
        _a.Move32(Host.Rbp, Host.R15);
        _a.Arithmetic32(Alu.And, Host.Rbp, StateLayout.JumpEntries - 1);
        _a.ShiftLeft32(Host.Rbp, 4);
        _a.Arithmetic(Alu.Cmp, Host.R15, Mem.State(Host.Rbp, JumpCache));
    }

    private void EmitSecondProbe(in ColdExit cold)
    {
        _a.Arithmetic32(Alu.Xor, Host.Rbp, 16);
        _a.Arithmetic(Alu.Cmp, Host.R15, Mem.State(Host.Rbp, JumpCache));
        AddLookup(_a.Jump(Condition.NotEqual, _a.Cursor), cold.Link, cold.LinkAx);
        var code = Mem.State(Host.Rbp, JumpCache + 8);
        if (cold.Resume == null)
        {
            _a.Jump(code);
            return;
        }

        _a.Call(code);
        _a.Jump(cold.Resume);
    }

    private void EmitFlow(in Instruction instruction)
    {
        switch (instruction.FlowControl)
        {
            case FlowControl.UnconditionalBranch:
                EmitJump(TreatmentRules.TargetOf(instruction, _mode), TreatmentRules.TargetOf(instruction, _mode) <= instruction.IP);
                break;
            case FlowControl.ConditionalBranch:
                EmitConditional(instruction);
                break;
            case FlowControl.Call:
                EmitCall(instruction);
                break;
            case FlowControl.IndirectBranch:
                EmitTarget(instruction);
                EmitLookup();
                break;
            case FlowControl.IndirectCall:
                EmitIndirectCall(instruction);
                break;
            default:
                EmitReturn(instruction);
                break;
        }
    }

    private void EmitConditional(in Instruction instruction)
    {
        ulong target = TreatmentRules.TargetOf(instruction, _mode);
        var condition = (Condition)(instruction.ConditionCode - ConditionCode.o);
        if (Single)
        {
            byte* taken = _a.Jump(condition, _a.Cursor);
            EmitStep(instruction.NextIP);
            HostAssembler.Patch(taken, _a.Cursor);
            EmitStep(target);
        }
        else if (target <= instruction.IP)
        {
            byte* skip = _a.Jump((Condition)((int)condition ^ 1), _a.Cursor);
            EmitJump(target, backward: true);
            HostAssembler.Patch(skip, _a.Cursor);
            EmitJump(instruction.NextIP, backward: false);
        }
        else
        {
            byte* taken = _a.Jump(condition, _a.Cursor);
            AddLink(taken, target);
            EmitJump(instruction.NextIP, backward: false);
        }
    }

    /// <summary>Bytes that a near call or a push of the default size pushes, in 64-bit and in flat 32-bit code.</summary>
    private int Word => Code64 ? 8 : 4;

    private void LeaWord(Host to, in Mem mem)
    {
        if (Code64)
        {
            _a.Lea(to, mem);
        }
        else
        {
            _a.Lea32(to, mem);
        }
    }

    private void MoveWord(Host to, Host from)
    {
        if (Code64)
        {
            _a.Move(to, from);
        }
        else
        {
            _a.Move32(to, from);
        }
    }

    private void LoadWord(Host to, in Mem mem)
    {
        if (Code64)
        {
            _a.Load(to, mem);
        }
        else
        {
            _a.Load32(to, mem);
        }
    }

    private void StoreWord(in Mem mem, Host from)
    {
        if (Code64)
        {
            _a.Store(mem, from);
        }
        else
        {
            _a.Store32(mem, from);
        }
    }

    /// <summary>Loads the target of an indirect jump or call into r15.</summary>
    private void EmitTarget(in Instruction instruction)
    {
        if (instruction.Op0Kind == OpKind.Register)
        {
            int guest = GuestRegisters.Number(instruction.Op0Register);
            Host host = Get(guest, Host.R15);
            if (host != Host.R15)
            {
                MoveWord(Host.R15, host);
            }
        }
        else
        {
            EmitAddress(instruction, Host.Rbp, withSegment: true, Word);
            EmitCheck(Word, write: false, keepSaved: true);
            LoadWord(Host.R15, Mem.At(Host.Rbp));
        }
    }

    /// <summary>Translates the address of a push; returns the displacement from rbp at which to store.</summary>
    private int EmitPushAddress(bool keepSaved = false)
    {
        if (_shared.IsShared)
        {
            return SharedDisplacement(-8);
        }

        LeaWord(Host.Rbp, Mem.At(Host.R10, -Word));
        EmitCheck(Word, write: true, keepSaved);
        return 0;
    }

    private void EmitStack(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Push when instruction.Op0Kind == OpKind.Register:
                int pushed = GuestRegisters.Number(instruction.Op0Register);
                int at = EmitPushAddress();
                StoreWord(Mem.At(Host.Rbp, at), Get(pushed, Host.R15));
                LeaWord(Host.R10, Mem.At(Host.R10, -Word));
                break;
            case Mnemonic.Push when instruction.Op0Kind == OpKind.Memory:
                EmitAddress(instruction, Host.Rbp, withSegment: true, Word);
                EmitCheck(Word, write: false, keepSaved: true);
                LoadWord(Host.R15, Mem.At(Host.Rbp));
                _a.Store(Mem.State(s_spare), Host.R15);
                LeaWord(Host.Rbp, Mem.At(Host.R10, -Word));
                EmitCheck(Word, write: true);
                _a.Load(Host.R15, Mem.State(s_spare));
                StoreWord(Mem.At(Host.Rbp), Host.R15);
                LeaWord(Host.R10, Mem.At(Host.R10, -Word));
                break;
            case Mnemonic.Push:
                at = EmitPushAddress();
                if (Code64)
                {
                    _a.StoreImmediate(Mem.At(Host.Rbp, at), (int)instruction.GetImmediate(0));
                }
                else
                {
                    _a.StoreImmediate32(Mem.At(Host.Rbp, at), (int)instruction.GetImmediate(0));
                }

                LeaWord(Host.R10, Mem.At(Host.R10, -Word));
                break;
            case Mnemonic.Pop:
                int popped = GuestRegisters.Number(instruction.Op0Register);
                int from = 0;
                if (_shared.IsShared)
                {
                    from = SharedDisplacement(0);
                }
                else
                {
                    MoveWord(Host.Rbp, Host.R10);
                    EmitCheck(Word, write: false);
                }

                LeaWord(Host.R10, Mem.At(Host.R10, Word));
                Host to = GuestRegisters.HostOf(popped);
                LoadWord(to == Host.None ? Host.R15 : to, Mem.At(Host.Rbp, from));
                if (to == Host.None)
                {
                    _a.Store(Mem.State(StateLayout.Gpr(popped)), Host.R15);
                }

                break;
            default:
                MoveWord(Host.Rbp, Host.R11);
                EmitCheck(Word, write: false);
                LeaWord(Host.R10, Mem.At(Host.R11, Word));
                LoadWord(Host.R11, Mem.At(Host.Rbp));
                break;
        }
    }
}
