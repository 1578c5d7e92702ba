using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;
using Yadokari.Translation.Memory;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation;

/// <summary>
/// The slow path of accesses that translated code could not make inline, for the TLB, the segment's limit or the page did not allow it: fills the
/// TLB, makes the access through a buffer, or delivers the fault that the instruction is to take, in the order in which processors look for them.
/// Of the vCPU's thread.
/// </summary>
internal sealed unsafe class AccessSlowPath(Vcpu cpu, TranslatedCode code)
{
    /// <summary>An access that the TLB does not know. RIP is at its instruction.</summary>
    /// <param name="site">The exit.</param>
    /// <param name="from">Its block.</param>
    /// <param name="outcome">What came of it otherwise.</param>
    /// <returns>Whether the TLB knows it now, so that the block can go on with it.</returns>
    public bool FillsTlb(Site* site, Block from, out Outcome outcome)
    {
        outcome = Outcome.Jumped;
        if (from.UsesSimd && cpu.X87.RaisesPending())
        {
            outcome = cpu.DeliverRaised();
            return false;
        }

        if (!cpu.Code64 && (uint)cpu.State->ExitValue + (ulong)site->Size > 1ul << 32)
        {
            // Whether that wraps around or exceeds the limit is for the segment to say.
            outcome = LimitedAccess(site->Size, site->Write != 0);
            return false;
        }

        ulong cr2 = cpu.Cr2;
        Reach reach = cpu.Mmu.Translate(cpu.State->ExitValue, site->Write != 0, cpu.Mmu.CurrentTlb, out byte* _, out ulong _);
        if (reach == Reach.Ram && (cpu.State->ExitValue & 4095) + site->Size <= 4096 && from.Valid)
        {
            return true;
        }

        outcome = MissedAccess(site, from, reach, cr2);
        return false;
    }

    // An access that is none to plain RAM within one page: it faults, or is made in steps.
    private Outcome MissedAccess(Site* site, Block from, Reach reach, ulong cr2)
    {
        if (site->Extra > 1)
        {
            // One check stood for several accesses: which of them is to blame shows when they run one by one.
            if (reach == Reach.Fault)
            {
                cpu.ClearRaised();
                cpu.Cr2 = cr2;
            }

            cpu.StepOneByOne(site->Extra);
            code.SharingFailed(from, site->Base);
            return Outcome.Retry;
        }

        if (reach == Reach.Fault)
        {
            // The fault can be raised without decoding the instruction. Decoding is needed only for vector instructions (masks, alignment),
            // for CMPXCHG16B (alignment), and for a non-canonical address (#GP or #SS by the segment used).
            bool whole = site->Size < 16 && Operands.IsCanonical(cpu.State->ExitValue + site->Size - 1);
            return !from.UsesSimd && whole && cpu.RaisedVector == (int)Vector.PageFault
                ? cpu.DeliverRaised()
                : MissFault(cpu.State->ExitValue, site->Size, site->Write != 0, cr2);
        }

        return from.Valid ? Bounce(cpu.State->ExitValue, site->Size, site->Write != 0) : Outcome.Retry;
    }

    /// <summary>
    /// An access that the inline comparison with its segment's limit did not let pass: all checks, and if they hold the access. Alignment that
    /// the instruction asks for comes before the limit, and under a mask each element's page before the next one's limit.
    /// </summary>
    public Outcome LimitedAccess(int size, bool store)
    {
        if (!cpu.Fetch.TryDecode(out Instruction instruction))
        {
            return cpu.DeliverRaised();
        }

        if (InstructionClasses.TreatmentOf(instruction.Code) != Treatment.Native)
        {
            return cpu.Emulate(instruction);
        }

        ulong offset = cpu.Memory.EffectiveAddress(instruction, out int segment);
        ulong first = (uint)(cpu.Segments[segment].Base + offset);
        bool masked = MaskedMoves.TryMask(cpu, instruction, out MaskedOperand mask);
        if ((!masked || mask.Mask != 0) && cpu.Alignment.IsMisaligned(instruction.Code, first))
        {
            cpu.Raise(Vector.GeneralProtection);
            return cpu.DeliverRaised();
        }

        if (!masked)
        {
            return cpu.Memory.Linear(segment, offset, size, store, out ulong linear) ? Bounce(linear, size, store) : cpu.DeliverRaised();
        }

        for (int i = 0; i < 64; i++)
        {
            if ((mask.Mask >> i & 1) != 0
                && !(cpu.Memory.LinearOfElement(segment, offset, i, mask.Bytes, store, out ulong element) && cpu.Memory.ProbeLinear(element, mask.Bytes, store)))
            {
                return cpu.DeliverRaised();
            }
        }

        return Bounce(first, size, store);
    }

    /// <summary>An access that may not be: an instruction with a mask may still be lucky, and what concerns the stack is #SS.</summary>
    private Outcome MissFault(ulong linear, int size, bool store, ulong cr2)
    {
        int vector = cpu.RaisedVector;
        uint errorCode = cpu.RaisedErrorCode;
        ulong address = cpu.Cr2;
        if (!cpu.Fetch.TryDecode(out Instruction instruction))
        {
            return cpu.DeliverRaised();
        }

        if (InstructionClasses.TreatmentOf(instruction.Code) == Treatment.Native && MaskedMoves.TryMask(cpu, instruction, out MaskedOperand _))
        {
            cpu.ClearRaised();
            cpu.Cr2 = cr2;
            return Bounce(linear, size, store);
        }

        const int Part = 8;
        bool parted = size == Part + 2 && cpu.Memory.IsWithinCanonical(linear, Part);
        if (parted && !cpu.Memory.ProbeLinear(linear, Part, store))
        {
            // Of the x87's ten bytes the first eight are looked at before the rest.
            return DeliverAccessFault(instruction, store);
        }

        if (IsRefused(instruction, linear, size, store))
        {
            cpu.Cr2 = cr2;
            return cpu.DeliverRaised();
        }

        cpu.Cr2 = address;
        cpu.Raise((Vector)vector, errorCode);
        return DeliverAccessFault(instruction, store);
    }

    /// <summary>
    /// Whether an operand is #GP or #SS for its address alone, whatever its page is like: it does not stand as the instruction asks for, or
    /// does not end where the canonical addresses do. Raises that.
    /// </summary>
    private bool IsRefused(in Instruction instruction, ulong linear, int size, bool store)
    {
        if (cpu.Alignment.IsMisaligned(instruction.Code, linear))
        {
            cpu.Raise(Vector.GeneralProtection);
            return true;
        }

        if (cpu.Memory.IsWithinCanonical(linear, size))
        {
            return false;
        }

        cpu.Raise(ConcernsStack(instruction, store) ? Vector.StackFault : Vector.GeneralProtection);
        return true;
    }

    /// <summary>One instruction whose memory operand is no plain RAM: its operand goes through a buffer.</summary>
    private Outcome Bounce(ulong linear, int size, bool store)
    {
        if (!cpu.Fetch.TryDecode(out Instruction instruction))
        {
            return cpu.DeliverRaised();
        }

        if (InstructionClasses.TreatmentOf(instruction.Code) != Treatment.Native || Emulator.Handles(instruction.Code))
        {
            return cpu.Emulate(instruction);
        }

        Bounces++;
        using Coherence.Section stopped = cpu.Atomically(instruction);

        // An x87 store may leave memory as it is, its exception pending.
        bool read = code.Translator.Use.ReadsMemory(instruction)
            || instruction.Mnemonic is Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp;
        bool write = code.Translator.Use.WritesMemory(instruction);
        bool masked = MaskedMoves.TryMask(cpu, instruction, out MaskedOperand mask);
        bool checks = !masked || (mask.Mask != 0 && cpu.Alignment.IsMisaligned(instruction.Code, linear));
        if (checks && IsRefused(instruction, linear, size, store))
        {
            return cpu.DeliverRaised();
        }

        if (write && !(masked ? MaskedMoves.ProbeMasked(cpu, linear, size, mask) : cpu.Memory.ProbeLinear(linear, size, write: true)))
        {
            return DeliverAccessFault(instruction, store);
        }

        byte* buffer = (byte*)cpu.State + StateLayout.Bounce + (linear & 63);
        var data = new Span<byte>(buffer, size);
        if (read && !masked && !cpu.Memory.ReadLinear(linear, data))
        {
            return cpu.DeliverRaised();
        }

        // What a store leaves out is not written back, so that only loads read.
        if (masked && !write && !MaskedMoves.ReadMasked(cpu, linear, data, mask))
        {
            return DeliverAccessFault(instruction, store);
        }

        if (!cpu.Mmu.TranslateFetch(cpu.LinearRip, out ulong gpa))
        {
            return cpu.DeliverRaised();
        }

        CpuMode mode = cpu.Mode.Current;
        ulong second = 0;
        if ((gpa & 4095) + (ulong)instruction.Length > 4096 && !cpu.Mmu.TranslateFetch((cpu.LinearRip & ~0xFFFul) + 4096, out second))
        {
            return cpu.DeliverRaised();
        }

        Block? block = code.FindBounce(gpa, cpu.LinearRip, mode);
        if (block == null || block.SecondGpa != second)
        {
            block = code.Translate(gpa, second, cpu.LinearRip, mode, bounce: true)!;
        }

        if (block.Refused)
        {
            return cpu.Emulate(instruction);
        }

        cpu.State->BouncePointer = (ulong)buffer;
        cpu.State->CodePage = cpu.LinearRip & ~0xFFFul;
        ulong next = cpu.NextRip(cpu.State->Rip, instruction.Length);
        cpu.Enter(block.Entry, simd: false);
        if (cpu.State->FaultSignal != 0)
        {
            return cpu.HostFault();
        }

        if (write && !(masked ? MaskedMoves.WriteMasked(cpu, linear, data, mask) : cpu.Memory.WriteLinear(linear, data)))
        {
            return DeliverAccessFault(instruction, store);
        }

        cpu.State->Rip = next;
        return Outcome.Jumped;
    }

    /// <summary>Accesses made through a buffer.</summary>
    public long Bounces { get; private set; }

    /// <summary>Delivers what an access raised: an address that is not canonical is #SS for the stack segment, #GP for others.</summary>
    private Outcome DeliverAccessFault(in Instruction instruction, bool store)
    {
        if (cpu.RaisedVector == (int)Vector.GeneralProtection)
        {
            if (ConcernsStack(instruction, store))
            {
                cpu.Raise(Vector.StackFault);
            }
        }

        return cpu.DeliverRaised();
    }

    private bool ConcernsStack(in Instruction instruction, bool store)
        => (instruction.IsStackInstruction && (store || instruction.Op0Kind != OpKind.Memory)) || cpu.Memory.SegmentOf(instruction) == 2;
}
