using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// MOVS and STOS with DF clear, with or without REP, whose source and destination each lie within a page of RAM: translated to the same string
/// instruction on host addresses.
/// </summary>
internal sealed unsafe partial class Translator
{
    private struct ColdString
    {
        public byte* TooMany;
        public byte* Done;
        public bool Ax;
        public int Emulated;
        public ulong Linear;
    }

    private readonly ColdString[] _coldStrings = new ColdString[BlockBuilder.MaxInstructions];
    private int _coldStringCount;

    private static int ElementBytes(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Movsb or Mnemonic.Stosb => 1,
        Mnemonic.Movsw or Mnemonic.Stosw => 2,
        Mnemonic.Movsd or Mnemonic.Stosd => 4,
        _ => 8,
    };

    private void EmitMovs(in Instruction instruction)
    {
        int bytes = ElementBytes(instruction);
        bool repeated = instruction.HasRepPrefix;
        if (repeated)
        {
            EmitCountCheck(instruction, bytes);
        }

        _a.Move(Host.Rbp, Host.Rsi);
        EmitCheck(bytes, write: false, keepSaved: true);
        if (repeated)
        {
            EmitRangeCheck(instruction, bytes);
        }

        _a.Store(Mem.State(s_spare), Host.Rbp);
        _a.Move(Host.Rbp, Host.Rdi);
        EmitCheck(bytes, write: true, keepSaved: true);
        if (repeated)
        {
            EmitRangeCheck(instruction, bytes);
        }

        RestoreFlagsIfSaved();
        if (repeated)
        {
            _a.Lea(Host.R15, new Mem(Host.Rdi, Host.Rcx, (byte)bytes, 0, false));
            _a.Move(Host.Rdi, Host.Rbp);
            _a.Lea(Host.Rbp, new Mem(Host.Rsi, Host.Rcx, (byte)bytes, 0, false));
        }
        else
        {
            _a.Lea(Host.R15, Mem.At(Host.Rdi, bytes));
            _a.Move(Host.Rdi, Host.Rbp);
            _a.Lea(Host.Rbp, Mem.At(Host.Rsi, bytes));
        }

        _a.Load(Host.Rsi, Mem.State(s_spare));
        _a.String(0xA4, bytes, repeated);
        _a.Move(Host.Rsi, Host.Rbp);
        _a.Move(Host.Rdi, Host.R15);
        FinishString(repeated);
    }

    private void EmitStos(in Instruction instruction)
    {
        int bytes = ElementBytes(instruction);
        bool repeated = instruction.HasRepPrefix;
        if (repeated)
        {
            EmitCountCheck(instruction, bytes);
        }

        _a.Move(Host.Rbp, Host.Rdi);
        EmitCheck(bytes, write: true, keepSaved: true);
        if (repeated)
        {
            EmitRangeCheck(instruction, bytes);
        }

        RestoreFlagsIfSaved();
        _a.Lea(Host.R15, repeated ? new Mem(Host.Rdi, Host.Rcx, (byte)bytes, 0, false) : Mem.At(Host.Rdi, bytes));
        _a.Move(Host.Rdi, Host.Rbp);
        _a.String(0xAA, bytes, repeated);
        _a.Move(Host.Rdi, Host.R15);
        FinishString(repeated);
    }

    /// <summary>Exits for emulation if the count is 0, which accesses no memory, or more than a page.</summary>
    private void EmitCountCheck(in Instruction instruction, int bytes)
    {
        SaveLiveFlags();
        _a.Lea(Host.R15, Mem.At(Host.Rcx, -1));
        _a.Arithmetic(Alu.Cmp, Host.R15, (4096 / bytes) - 1);
        _emulated.Add(instruction);
        _coldStrings[_coldStringCount] = new ColdString
        {
            TooMany = _a.Jump(Condition.Above, _a.Cursor),
            Ax = _axSaved,
            Emulated = _emulated.Count - 1,
            Linear = instruction.IP,
        };
    }

    /// <summary>Checks that all elements at the host address in rbp lie within its page; the count has been checked to fit a page.</summary>
    private void EmitRangeCheck(in Instruction instruction, int bytes)
    {
        _a.Move32(Host.R15, Host.Rbp);
        _a.Arithmetic32(Alu.And, Host.R15, 4095);
        _a.Lea32(Host.R15, new Mem(Host.R15, Host.Rcx, (byte)bytes, 0, false));
        _a.Arithmetic32(Alu.Cmp, Host.R15, 4096);
        AddCold(SiteKind.Emulate, _a.Jump(Condition.Above, _a.Cursor), instruction.IP, _coldStrings[_coldStringCount].Emulated);
    }

    private void FinishString(bool repeated)
    {
        if (repeated)
        {
            _coldStrings[_coldStringCount++].Done = _a.Cursor;
        }
    }

    private void EmitColdStrings()
    {
        for (int i = 0; i < _coldStringCount; i++)
        {
            ref ColdString cold = ref _coldStrings[i];
            HostAssembler.Patch(cold.TooMany, _a.Cursor);
            _axSaved = cold.Ax;
            _a.Test(Host.Rcx);
            byte* many = _a.Jump(Condition.NotEqual, _a.Cursor);
            RestoreFlagsIfSaved();
            _a.Jump(cold.Done);
            HostAssembler.Patch(many, _a.Cursor);
            _axSaved = cold.Ax;
            EmitExit(SiteKind.Emulate, cold.Linear, cold.Emulated, null);
        }

        _axSaved = false;
    }
}
