using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>INVLPG, INVPCID, and cache control, which has no effect.</summary>
internal static unsafe class Invalidation
{
    internal static void Add(HandlerTable table)
    {
        table.On(&Invlpg, Mnemonic.Invlpg);
        table.On(&Invpcid, Mnemonic.Invpcid);
        table.On(&FlushCaches, Mnemonic.Invd, Mnemonic.Wbinvd, Mnemonic.Wbnoinvd);
    }

    // SDM 2A INVLPG: no segment limit is checked, and a non-canonical address is no error.
    private static Outcome Invlpg(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong offset = cpu.Memory.EffectiveAddress(instruction, out int segment);
        ulong linear = !cpu.Code64 ? (uint)(cpu.Segments[segment].Base + offset)
            : segment >= Fs ? cpu.Segments[segment].Base + offset
            : offset;
        cpu.Mmu.FlushPage(linear);
        return Outcome.Next;
    }

    // SDM 2A INVPCID.
    private static Outcome Invpcid(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong type = Get(cpu, instruction.Op0Register);
        if (!Address(cpu, instruction, 16, write: false, out ulong descriptor)
            || !cpu.Memory.Read(descriptor, out ulong pcid)
            || !cpu.Memory.Read(descriptor + 8, out ulong linear))
        {
            return Outcome.Fault;
        }

        bool badPcid = type <= 1 && (pcid > 0xFFF || (pcid != 0 && (cpu.Cr4 & X86.Cr4.PCIDE) == 0));
        if (type > 3 || badPcid || (type == 0 && !IsCanonical(linear)))
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        switch (type)
        {
            case 0:
                cpu.Mmu.FlushPage(linear, (int)pcid);
                break;
            case 1:
                cpu.Mmu.FlushPcid((int)pcid);
                break;
            case 2:
                cpu.Mmu.FlushAll();
                break;
            default:
                cpu.Mmu.FlushPcids();
                break;
        }

        return Outcome.Next;
    }

    // All accesses to guest memory are coherent, so there is nothing to flush.
    private static Outcome FlushCaches(Vcpu cpu, in Instruction instruction)
        => cpu.Cpl > 0 ? cpu.Raise(Vector.GeneralProtection) : Outcome.Next;
}
