using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;
using Yadokari.Translation.Memory;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation;

/// <summary>
/// The slow path of memory accesses that translated code could not make inline because of a TLB miss, a segment limit, or the kind of page. It
/// fills the TLB, makes the access through the bounce buffer, or delivers the instruction's fault, with the priority of faults that processors
/// have. On the vCPU's thread.
/// </summary>
internal sealed unsafe class AccessSlowPath(Vcpu cpu, TranslatedCode code)
{
    /// <summary>Handles an access that missed the TLB. RIP is at its instruction.</summary>
    /// <param name="site">The exit.</param>
    /// <param name="from">Its block.</param>
    /// <param name="outcome">The result if the block can't resume.</param>
    /// <returns>Whether a TLB entry was filled, so that the block can resume at the access.</returns>
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
            // The access wraps around 4 GiB: the segment's limit decides.
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

    // Handles an access that faults, or that is not to RAM within one page and must be made through the bounce buffer.
    private Outcome MissedAccess(Site* site, Block from, Reach reach, ulong cr2)
    {
        if (site->Extra > 1)
        {
            // Several accesses shared the check: running their instructions one by one shows which of them faults.
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
    /// Handles an access that failed the inline check of its segment's limit: makes all checks and, if they pass, the access. The alignment that
    /// the instruction requires is checked before the limit; of a masked access, each element's page is checked before the next element's limit.
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

    /// <summary>Handles an access that faults: a mask may suppress the fault, and a fault of a stack access is #SS.</summary>
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
            // Of an x87 operand of ten bytes, the first eight are checked before the rest.
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
    /// Raises #GP or #SS if the address of an operand alone requires it, before its page is accessed: it is misaligned for the instruction, or
    /// ends beyond the canonical addresses.
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

    /// <summary>Runs one instruction whose memory operand is not RAM within one page, with the operand in the bounce buffer.</summary>
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

        // An x87 store with a pending exception leaves memory unchanged, so the operand is read before.
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

        // A masked store does not write back masked elements, so only loads read.
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

    /// <summary>Count of accesses made through the bounce buffer.</summary>
    public long Bounces { get; private set; }

    /// <summary>Delivers the fault of an access: a non-canonical address is #SS for the stack segment, #GP for others.</summary>
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
