using Iced.Intel;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// What sensitive instructions mean, in C#. <see cref="Execute"/> is called on the vCPU's thread with the guest's registers in
/// <see cref="VcpuState"/>, RIP at the instruction; a handler changes nothing if it returns <see cref="Outcome.Fault"/>, but for the
/// elements that a repeated instruction finished before.
/// </summary>
/// <remarks>
/// One handler an instruction, in the file of its group; <c>On</c> names the codes it is for. "SDM 2A CLI" in a comment is the page of that
/// instruction in the Intel Software Developer's Manual, volume 2A; "SDM 3A 6.12" a section of volume 3A.
/// </remarks>
internal static unsafe partial class Emulator
{
    private static readonly delegate*<Vcpu, in Instruction, Outcome>[] s_handlers = Build();

    /// <summary>Executes one instruction. What has no handler is an invalid opcode.</summary>
    internal static Outcome Execute(Vcpu cpu, in Instruction instruction)
    {
        delegate*<Vcpu, in Instruction, Outcome> handler = s_handlers[(int)instruction.Code];
        return handler == null ? cpu.Raise(Vector.InvalidOpcode) : handler(cpu, in instruction);
    }

    /// <summary>Whether there is a handler, so that the instruction may be sent here rather than run natively.</summary>
    internal static bool Handles(Code code) => s_handlers[(int)code] != null;

    private static delegate*<Vcpu, in Instruction, Outcome>[] Build()
    {
        var table = new Table();
        AddFlags(table);
        AddSystemRegisters(table);
        AddTables(table);
        AddSegments(table);
        AddSegmentQueries(table);
        AddFarTransfers(table);
        AddInterrupts(table);
        AddInterruptReturn(table);
        AddFastCalls(table);
        AddPortIo(table);
        AddStrings(table);
        AddMsrs(table);
        AddIdentification(table);
        AddInvalidation(table);
        return table.Finish();
    }

    /// <summary>Handlers while the dispatch table is built: by code, or for every form of a mnemonic.</summary>
    private sealed class Table
    {
        private readonly delegate*<Vcpu, in Instruction, Outcome>[] _byCode =
            new delegate*<Vcpu, in Instruction, Outcome>[Enum.GetValues<Code>().Length];

        private readonly delegate*<Vcpu, in Instruction, Outcome>[] _byMnemonic =
            new delegate*<Vcpu, in Instruction, Outcome>[Enum.GetValues<Mnemonic>().Length];

        public void On(delegate*<Vcpu, in Instruction, Outcome> handler, params ReadOnlySpan<Code> codes)
        {
            foreach (Code code in codes)
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
                    _byCode[code] = _byMnemonic[(int)((Code)code).Mnemonic()];
                }
            }

            return _byCode;
        }
    }
}
