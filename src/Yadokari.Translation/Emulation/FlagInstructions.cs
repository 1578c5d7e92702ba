using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.VirtualMode;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Instructions that change or read system flags: IF, AC, IOPL and others.</summary>
internal static unsafe class FlagInstructions
{
    // CF PF AF ZF SF TF DF OF NT: POPF can change them at any level.
    internal const ulong UserFlags16 = 0x4DD5;

    internal static void Add(HandlerTable table)
    {
        table.On(&Cli, Mnemonic.Cli);
        table.On(&Sti, Mnemonic.Sti);
        table.On(&Cld, Mnemonic.Cld);
        table.On(&Std, Mnemonic.Std);
        table.On(&Clac, Mnemonic.Clac);
        table.On(&Stac, Mnemonic.Stac);
        table.On(&Hlt, Mnemonic.Hlt);
        table.On(&Pause, Mnemonic.Pause);
        table.On(&Pushf<ushort>, Op.Pushfw);
        table.On(&Pushf<uint>, Op.Pushfd);
        table.On(&Pushf<ulong>, Op.Pushfq);
        table.On(&Popf<ushort>, Op.Popfw);
        table.On(&Popf<uint>, Op.Popfd);
        table.On(&Popf<ulong>, Op.Popfq);
    }

    // SDM 2A CLI. In virtual-8086 mode CPL is 3, so one comparison serves all modes.
    private static Outcome Cli(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > Iopl(cpu))
        {
            return HasVirtualInterruptFlag(cpu) ? SetVirtualInterruptFlag(cpu, on: false) : cpu.Raise(Vector.GeneralProtection);
        }

        cpu.State->SystemFlags &= ~FlagInterrupt;
        return Outcome.Next;
    }

    // SDM 2B STI: interrupts are taken only after the next instruction, if they were off before.
    private static Outcome Sti(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > Iopl(cpu))
        {
            return HasVirtualInterruptFlag(cpu) ? SetVirtualInterruptFlag(cpu, on: true) : cpu.Raise(Vector.GeneralProtection);
        }

        if ((cpu.State->SystemFlags & FlagInterrupt) == 0)
        {
            cpu.State->SystemFlags |= FlagInterrupt;
            cpu.Events.InterruptShadow = true;
        }

        return Outcome.Next;
    }

    private static Outcome Cld(Vcpu cpu, in Instruction instruction)
    {
        cpu.State->SystemFlags &= ~FlagDirection;
        cpu.ModeChanged();
        return Outcome.Next;
    }

    private static Outcome Std(Vcpu cpu, in Instruction instruction)
    {
        cpu.State->SystemFlags |= FlagDirection;
        cpu.ModeChanged();
        return Outcome.Next;
    }

    // SDM 2A CLAC.
    private static Outcome Clac(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        cpu.State->SystemFlags &= ~FlagAlignment;
        cpu.ModeChanged();
        return Outcome.Next;
    }

    private static Outcome Stac(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        cpu.State->SystemFlags |= FlagAlignment;
        cpu.ModeChanged();
        return Outcome.Next;
    }

    private static Outcome Hlt(Vcpu cpu, in Instruction instruction)
        => cpu.Cpl > 0 ? cpu.Raise(Vector.GeneralProtection) : Outcome.Halt;

    // SDM 2B PAUSE: a spin loop, which may wait for a vCPU that has no host processor: yield.
    private static Outcome Pause(Vcpu cpu, in Instruction instruction)
    {
        const int pausesPerYield = 16;
        if (++cpu.Pauses % pausesPerYield == 0)
        {
            Thread.Yield();
        }

        return Outcome.Next;
    }

    // SDM 2B PUSHF: VM and RF are pushed as 0.
    private static Outcome Pushf<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        if (FlagsAreVirtual(cpu, sizeof(T)))
        {
            return Push(cpu, ref cpu.Rsp, VirtualFlags(cpu), 2) ? Outcome.Next : Outcome.Fault;
        }

        if (cpu.Virtual8086 && Iopl(cpu) < 3)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        return Push(cpu, ref cpu.Rsp, cpu.Rflags & 0xFCFFFF, sizeof(T)) ? Outcome.Next : Outcome.Fault;
    }

    // SDM 2B POPF, table 4-16.
    private static Outcome Popf<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        bool isVirtual = FlagsAreVirtual(cpu, sizeof(T));
        if (cpu.Virtual8086 && Iopl(cpu) < 3 && !isVirtual)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong rsp = cpu.Rsp;
        if (!Pop(cpu, ref rsp, sizeof(T), out ulong popped) || (isVirtual && !SetVirtualFlags(cpu, popped)))
        {
            return Outcome.Fault;
        }

        cpu.Rsp = rsp;
        if (isVirtual)
        {
            return Outcome.Next;
        }

        ulong writable = WritableFlags(cpu, sizeof(T));
        ulong flags = (cpu.Rflags & ~writable) | (popped & writable);
        cpu.Rflags = sizeof(T) == 2 ? flags : flags & ~FlagResume;
        return Outcome.Next;
    }

    /// <summary>The flags that POPF and IRET may change at this level with this operand size, except VM, RF, VIF and VIP.</summary>
    internal static ulong WritableFlags(Vcpu cpu, int bytes)
        => UserFlags16
            | (bytes > 2 ? FlagAlignment | FlagId : 0)
            | (cpu.Cpl <= Iopl(cpu) ? FlagInterrupt : 0)
            | (cpu.Cpl == 0 ? FlagIopl : 0);
}
