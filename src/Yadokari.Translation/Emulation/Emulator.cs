using Iced.Intel;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// What sensitive instructions mean, in C#. <see cref="Execute"/> is called on the vCPU's thread with the guest's registers in
/// <see cref="VcpuState"/>, RIP at the instruction; a handler changes nothing if it returns <see cref="Vcpu.Outcome.Fault"/>.
/// </summary>
internal static partial class Emulator
{
    /// <summary>Executes one instruction.</summary>
    internal static bool Handles(Iced.Intel.Code code) => false;

    internal static Vcpu.Outcome Execute(Vcpu cpu, in Instruction instruction) => cpu.Raise(Vector.InvalidOpcode);

    /// <summary>Delivers an exception, interrupt or INT n through the IDT: RIP is what is to be pushed.</summary>
    internal static Vcpu.Outcome Deliver(Vcpu cpu, int vector, uint? errorCode, bool software) => Vcpu.Outcome.Shutdown;
}
