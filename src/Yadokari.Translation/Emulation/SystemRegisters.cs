using Iced.Intel;
using Yadokari.X86;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.TableRegisters;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Control and debug registers.</summary>
internal static unsafe class SystemRegisters
{
    // Bits that change the paging mode, or the meaning of cached translations.
    private const ulong PagingCr0 = Cr0.PG | Cr0.WP | Cr0.PE;
    private const ulong PagingCr4 = Cr4.PSE | Cr4.PAE | Cr4.PGE | Cr4.PCIDE | Cr4.SMEP | Cr4.SMAP | Cr4.PKE | Cr4.LA57;
    private const ulong KeepTranslations = 1ul << 63;

    internal static void Add(HandlerTable table)
    {
        table.On(&MovFromControl, Op.Mov_r32_cr, Op.Mov_r64_cr);
        table.On(&MovToControl, Op.Mov_cr_r32, Op.Mov_cr_r64);
        table.On(&MovFromDebug, Op.Mov_r32_dr, Op.Mov_r64_dr);
        table.On(&MovToDebug, Op.Mov_dr_r32, Op.Mov_dr_r64);
        table.On(&Clts, Mnemonic.Clts);
        table.On(&Lmsw, Mnemonic.Lmsw);
        table.On(&Smsw, Mnemonic.Smsw);
    }

    // SDM 2B MOV - control registers.
    private static Outcome MovFromControl(Vcpu cpu, in Instruction instruction)
    {
        int number = instruction.Op1Register - Register.CR0;
        if (number is not (0 or 2 or 3 or 4 or 8))
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        Set(cpu, instruction.Op0Register, number switch
        {
            0 => cpu.Cr0,
            2 => cpu.Cr2,
            3 => cpu.Cr3,
            4 => cpu.Cr4,
            _ => cpu.Host.ReadTaskPriority(cpu.Id),
        });
        return Outcome.Next;
    }

    private static Outcome MovToControl(Vcpu cpu, in Instruction instruction)
    {
        int number = instruction.Op0Register - Register.CR0;
        if (number is not (0 or 2 or 3 or 4 or 8))
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong value = Get(cpu, instruction.Op1Register);
        switch (number)
        {
            case 0:
                return WriteCr0(cpu, value);
            case 2:
                cpu.Cr2 = value;
                return Outcome.Next;
            case 3:
                return WriteCr3(cpu, value);
            case 4:
                return WriteCr4(cpu, value);
            default:
                if (value > 15)
                {
                    return cpu.Raise(Vector.GeneralProtection);
                }

                cpu.Host.WriteTaskPriority(cpu.Id, (byte)value);
                return Outcome.Next;
        }
    }

    // SDM 3A 2.5, 5.4.1, 10.8.5: with EFER.LME, setting PG enters long mode and clearing it leaves.
    private static Outcome WriteCr0(Vcpu cpu, ulong value)
    {
        bool paging = (value & Cr0.PG) != 0;
        bool turnsOn = paging && (cpu.Cr0 & Cr0.PG) == 0;
        bool turnsOff = !paging && (cpu.Cr0 & Cr0.PG) != 0;
        bool toLong = turnsOn && (cpu.Efer & Efer.LME) != 0;
        if (value >> 32 != 0
            || (paging && (value & Cr0.PE) == 0)
            || (value & (Cr0.NW | Cr0.CD)) == Cr0.NW
            || (toLong && ((cpu.Cr4 & Cr4.PAE) == 0 || (cpu.Segments[Cs].Attributes & 0x2000) != 0))
            || (turnsOff && (cpu.Code64 || (cpu.Cr4 & Cr4.PCIDE) != 0)))
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong changed = cpu.Cr0 ^ value;
        cpu.Cr0 = (value & Cr0.Defined) | Cr0.ET;
        if (toLong)
        {
            cpu.Efer |= Efer.LMA;
        }
        else if (turnsOff)
        {
            cpu.Efer &= ~Efer.LMA;
        }

        if ((changed & Cr0.PE) != 0)
        {
            cpu.Cpl = 0;
        }

        if ((changed & PagingCr0) != 0)
        {
            cpu.Mmu.FlushAll();
        }

        cpu.ModeChanged();
        return Outcome.Next;
    }

    // SDM 2B MOV - control registers: with PCIDs bit 63 keeps the translations of the one written.
    private static Outcome WriteCr3(Vcpu cpu, ulong value)
    {
        bool keep = (cpu.Cr4 & Cr4.PCIDE) != 0 && (value & KeepTranslations) != 0;
        if (keep)
        {
            value &= ~KeepTranslations;
        }

        if (cpu.LongMode && value >> cpu.PhysicalAddressBits != 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        cpu.Mmu.LoadPageTables(value, keep);
        return Outcome.Next;
    }

    // SDM 3A 2.5, CR4; 4.10.1 for PCIDs.
    private static Outcome WriteCr4(Vcpu cpu, ulong value)
    {
        ulong changed = cpu.Cr4 ^ value;
        bool setsPcid = (changed & value & Cr4.PCIDE) != 0;
        if ((value & ~cpu.Cpuid.Cr4Writable) != 0
            || (cpu.LongMode && (value & Cr4.PAE) == 0)
            || (setsPcid && (!cpu.LongMode || (cpu.Cr3 & 0xFFF) != 0)))
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        cpu.Cr4 = value;
        if ((changed & PagingCr4) != 0)
        {
            cpu.Mmu.FlushAll();
        }

        cpu.ModeChanged();
        return Outcome.Next;
    }

    private static Outcome Clts(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        cpu.Cr0 &= ~Cr0.TS;
        cpu.ModeChanged();
        return Outcome.Next;
    }

    // SDM 2A LMSW: may set PE, never clear it.
    private static Outcome Lmsw(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        return Load(cpu, instruction, 0, 2, out ulong value)
            ? WriteCr0(cpu, (cpu.Cr0 & ~0xEul) | (value & 0xF))
            : Outcome.Fault;
    }

    // SDM 2B SMSW: a register receives as many bits of CR0 as fit, memory 16 bits.
    private static Outcome Smsw(Vcpu cpu, in Instruction instruction)
        => IsHidden(cpu) ? cpu.Raise(Vector.GeneralProtection) : StoreNext(cpu, instruction, 0, 2, cpu.Cr0);

    // SDM 2B MOV - debug registers.
    private static Outcome MovFromDebug(Vcpu cpu, in Instruction instruction)
    {
        if (!CheckDebug(cpu, instruction.Op1Register, out int number))
        {
            return Outcome.Fault;
        }

        Set(cpu, instruction.Op0Register, cpu.Dr[number]);
        return Outcome.Next;
    }

    private static Outcome MovToDebug(Vcpu cpu, in Instruction instruction)
    {
        if (!CheckDebug(cpu, instruction.Op0Register, out int number))
        {
            return Outcome.Fault;
        }

        ulong value = Get(cpu, instruction.Op1Register);
        if (number >= 6 && value >> 32 != 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        cpu.Dr[number] = number switch
        {
            6 => (value & DebugRegisters.Dr6Writable) | DebugRegisters.Dr6Fixed,
            7 => (value & DebugRegisters.Dr7Writable) | DebugRegisters.Dr7Fixed,
            _ => value,
        };
        cpu.ModeChanged();
        return Outcome.Next;
    }

    // DR4 and DR5 are aliases of DR6 and DR7 without CR4.DE; DR7.GD guards all debug registers.
    private static bool CheckDebug(Vcpu cpu, Register register, out int number)
    {
        number = register - Register.DR0;
        if (number > 7 || (number is 4 or 5 && (cpu.Cr4 & Cr4.DE) != 0))
        {
            return Refuse(cpu, Vector.InvalidOpcode);
        }

        number = number is 4 or 5 ? number + 2 : number;
        if (cpu.Cpl > 0)
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        if ((cpu.Dr[7] & DebugRegisters.GD) != 0)
        {
            cpu.Dr[6] |= DebugRegisters.BD;
            return Refuse(cpu, Vector.Debug);
        }

        return true;
    }
}
