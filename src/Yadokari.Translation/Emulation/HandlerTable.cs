using Iced.Intel;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Builds the dispatch table: registers handlers by code, or for all forms of a mnemonic.</summary>
internal sealed unsafe class HandlerTable
{
    private readonly delegate*<Vcpu, in Instruction, Outcome>[] _byCode =
        new delegate*<Vcpu, in Instruction, Outcome>[Enum.GetValues<Op>().Length];

    private readonly delegate*<Vcpu, in Instruction, Outcome>[] _byMnemonic =
        new delegate*<Vcpu, in Instruction, Outcome>[Enum.GetValues<Mnemonic>().Length];

    public void On(delegate*<Vcpu, in Instruction, Outcome> handler, params ReadOnlySpan<Op> codes)
    {
        foreach (Op code in codes)
        {
            _byCode[(int)code] = handler;
        }
    }

    public void On(delegate*<Vcpu, in Instruction, Outcome> handler, params ReadOnlySpan<Mnemonic> mnemonics)
    {
        foreach (Mnemonic mnemonic in mnemonics)
        {
            _byMnemonic[(int)mnemonic] = handler;
        }
    }

    public delegate*<Vcpu, in Instruction, Outcome>[] Finish()
    {
        for (int code = 0; code < _byCode.Length; code++)
        {
            if (_byCode[code] == null)
            {
                _byCode[code] = _byMnemonic[(int)((Op)code).Mnemonic()];
            }
        }

        return _byCode;
    }
}
