using Iced.Intel;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Hardware task switches (SDM 3A chapter 8). Not there yet: they fault as if the task were not to be had.</summary>
internal static unsafe partial class Emulator
{
    private static Outcome DeliverToTask(Vcpu cpu, ushort selector, uint? errorCode, uint external)
        => cpu.Raise(Vector.InvalidTss, ErrorOf(selector, external));

    private static Outcome JumpToTask(Vcpu cpu, in Instruction instruction, ushort selector, in Descriptor target, bool isCall)
        => cpu.Raise(Vector.InvalidTss, ErrorOf(selector));

    private static Outcome ReturnFromTask(Vcpu cpu, in Instruction instruction)
        => cpu.Raise(Vector.InvalidTss, ErrorOf(cpu.Tr.Selector));
}
