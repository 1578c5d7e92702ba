using System.Diagnostics;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Linux;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;
using Yadokari.Translation.Memory;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation;

/// <summary>What follows when translated code comes back.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Deals with whatever made translated code return. On return RIP is exact and <paramref name="block"/> what to run next, if known.</summary>
    private Outcome AfterExit(ref Block? block)
    {
        while (true)
        {
            if (State->FaultSignal != 0)
            {
                block = null;
                return HostFault();
            }

            var site = (Site*)_code.Cache.Writable((byte*)State->ExitSite);
            ExitsByKind[(int)site->Kind]++;
            if (site->Kind == SiteKind.Gone)
            {
                return FollowGone(out block);
            }

            Block from = _code.ByNumber(site->Block)!;
            ulong page = (from.Mode & CpuMode.User) != 0 ? State->CodePage : from.LinearPage;
            ulong linear = page + (ulong)site->GuestOffset;
            block = null;
            switch (site->Kind)
            {
                case SiteKind.Miss:
                    SetLinearRip(linear);
                    X87.TakeNotes(from, page, site->GuestOffset);
                    if (!FillsTlb(site, from, out Outcome outcome))
                    {
                        return outcome;
                    }

                    Enter((byte*)State->ExitSite + site->Resume, from.UsesSimd);
                    continue;

                case SiteKind.Limit:
                    SetLinearRip(linear);
                    X87.TakeNotes(from, page, site->GuestOffset);
                    return from.UsesSimd && X87.RaisesPending() ? DeliverRaised() : LimitedAccess(site->Size, site->Write != 0);

                case SiteKind.Emulate:
                    SetLinearRip(linear);
                    return Emulate(_code.Translator.Emulated(site->Extra));

                case SiteKind.Link:
                    SetLinearRip(linear);
                    return FollowLink(site, from, out block);

                case SiteKind.Lookup:
                    return FollowLookup(site, from, page, out block);

                case SiteKind.Recheck:
                    SetLinearRip(linear);
                    block = Recheck(site, from);
                    if (block == null)
                    {
                        return DeliverRaised();
                    }

                    Enter(block.Entry, simd: false);
                    continue;

                default:
                    FetchExtended();
                    SetLinearRip(linear);
                    return Outcome.Jumped;
            }
        }
    }

    // A jump by linear address whose block is gone.
    private Outcome FollowGone(out Block? block)
    {
        SetLinearRip(State->ExitValue);
        block = Fetch.FindBlock(Mode.Current);
        if (block == null)
        {
            return DeliverRaised();
        }

        if (Trace == null && (block.Mode & CpuMode.Single) == 0)
        {
            _tlb.FillJump(State->ExitValue, block, Mmu.FetchIsGlobal);
        }

        return Outcome.Jumped;
    }

    // An access that the TLB does not know. True: it does now, and the block goes on with it; false: that came of it.
    private bool FillsTlb(Site* site, Block from, out Outcome outcome)
    {
        outcome = Outcome.Jumped;
        if (from.UsesSimd && X87.RaisesPending())
        {
            outcome = DeliverRaised();
            return false;
        }

        if (!Code64 && (uint)State->ExitValue + (ulong)site->Size > 1ul << 32)
        {
            // Whether that wraps around or exceeds the limit is for the segment to say.
            outcome = LimitedAccess(site->Size, site->Write != 0);
            return false;
        }

        ulong cr2 = Cr2;
        Reach reach = Mmu.Translate(State->ExitValue, site->Write != 0, Mmu.CurrentTlb, out byte* _, out ulong _);
        if (reach == Reach.Ram && (State->ExitValue & 4095) + site->Size <= 4096 && from.Valid)
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
                ClearRaised();
                Cr2 = cr2;
            }

            _steps = site->Extra;
            _code.SharingFailed(from, site->Base);
            return Outcome.Retry;
        }

        if (reach == Reach.Fault)
        {
            // Only vector instructions have masks and ask for aligned operands, but for CMPXCHG16B, and only an address that
            // is not canonical asks who used it.
            bool whole = site->Size < 16 && IsCanonical(State->ExitValue + site->Size - 1);
            return !from.UsesSimd && whole && RaisedVector == (int)Vector.PageFault
                ? DeliverRaised()
                : MissFault(State->ExitValue, site->Size, site->Write != 0, cr2);
        }

        return from.Valid ? Bounce(State->ExitValue, site->Size, site->Write != 0) : Outcome.Retry;
    }

    // A jump to a known address, not linked to its block yet.
    private Outcome FollowLink(Site* site, Block from, out Block? block)
    {
        long flushes = _code.CacheFlushes;
        block = Fetch.FindBlock(Mode.Current);
        if (block == null)
        {
            return DeliverRaised();
        }

        // The block may have gone with a cache that was full, and describe another by now, or its page with the other block's
        // translation.
        if (Trace == null && from.Valid && _code.CacheFlushes == flushes && (block.Mode & CpuMode.Single) == 0)
        {
            _code.Link(site, block, LinearRip, Mmu.FetchIsGlobal);
        }

        return Outcome.Jumped;
    }

    // A jump to an address that the code computed, or into another page.
    private Outcome FollowLookup(Site* site, Block from, ulong page, out Block? block)
    {
        block = null;
        if (from.Mode.HasFlag(CpuMode.Code64) && !IsCanonical(State->ExitValue))
        {
            return RefuseBranch(from, page);
        }

        SetLinearRip(State->ExitValue);
        if ((from.Mode & CpuMode.Single) != 0)
        {
            return Outcome.Jumped;
        }

        long flushes = _code.CacheFlushes;
        block = Fetch.FindBlock(Mode.Current);
        if (block == null)
        {
            return DeliverRaised();
        }

        if (Trace == null)
        {
            _tlb.FillJump(State->ExitValue, block, Mmu.FetchIsGlobal);
            if (site->Resume != 0 && from.Valid && _code.CacheFlushes == flushes && (block.Mode & CpuMode.Single) == 0)
            {
                _code.LinkFar(site, block, (long)((State->ExitValue & ~0xFFFul) - page), State->FetchEpoch);
            }
        }

        return Outcome.Jumped;
    }

    // The block for an instruction across two pages, whose second may be mapped otherwise by now; null for a fault, which is raised. Nothing
    // of it ran yet. What runs one by one does so still: found for another mode, this block would never be settled.
    private Block? Recheck(Site* site, Block from)
    {
        long flushes = _code.CacheFlushes;
        Block? block = Fetch.FindBlock(from.Mode);
        if (block == null)
        {
            return null;
        }

        if (block != from)
        {
            Trace?.Enter(this, block);
        }
        else if (_code.CacheFlushes == flushes)
        {
            *(int*)((byte*)site + site->Resume) = _tlb.FetchEpoch(from.SecondGlobal);
        }

        if (block.UsesSimd)
        {
            FetchExtended();
        }

        return block;
    }

    private Outcome Emulate(in Instruction instruction)
    {
        ulong rip = State->Rip;
        Debugging.Emulates(instruction.Mnemonic);
        Trace?.Emulate(this, instruction);
        long start = _vm.Timed ? Stopwatch.GetTimestamp() : 0;
        Outcome outcome;
        using (IsAtomic(instruction) ? _coherence.StopTheWorld(this) : default)
        {
            bool has = _vm.InstructionSet.Has(instruction);
            if (!has || Emulator.IsUnknown(instruction))
            {
                _vm.Refused.Count(instruction.Mnemonic.ToString().ToLowerInvariant());
            }

            outcome = has ? Emulator.Execute(this, instruction) : Raise(Vector.InvalidOpcode);
        }

        _vm.CountEmulated(instruction, start);
        switch (outcome)
        {
            case Outcome.Next:
            case Outcome.Halt:
                State->Rip = NextRip(rip, instruction.Length);
                return outcome;
            case Outcome.Fault:
                State->Rip = rip;
                return DeliverRaised();
            case Outcome.Again:
                State->Rip = rip;
                return outcome;
            default:
                return outcome;
        }
    }

    private ulong NextRip(ulong rip, int length) => Code64 ? rip + (ulong)length
        : Segments.IsCode32 ? (uint)rip + (uint)length : (ushort)((uint)rip + (uint)length);

    internal Outcome DeliverRaised()
    {
        int vector = RaisedVector;
        uint errorCode = RaisedErrorCode;
        ClearRaised();
        Exceptions++;
        Trace?.Exception(this, vector, errorCode);
        uint? pushed = X86.Vectors.HasErrorCode((Vector)vector) ? errorCode : null;
        if (Catches(vector, pushed, software: false))
        {
            return Outcome.Shutdown;
        }

        Outcome outcome = InterruptDelivery.Deliver(this, vector, pushed, software: false);
        return outcome == Outcome.Shutdown ? outcome : Outcome.Jumped;
    }

    /// <summary>One instruction whose memory operand is no plain RAM: its operand goes through a buffer.</summary>
    private Outcome Bounce(ulong linear, int size, bool store)
    {
        if (!Fetch.TryDecode(out Instruction instruction))
        {
            return DeliverRaised();
        }

        if (InstructionClasses.TreatmentOf(instruction.Code) != Treatment.Native || Emulator.Handles(instruction.Code))
        {
            return Emulate(instruction);
        }

        Bounces++;
        using Coherence.Section stopped = IsAtomic(instruction) ? _coherence.StopTheWorld(this) : default;

        // An x87 store may leave memory as it is, its exception pending.
        bool read = _code.Translator.Use.ReadsMemory(instruction)
            || instruction.Mnemonic is Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp;
        bool write = _code.Translator.Use.WritesMemory(instruction);
        bool masked = MaskedMoves.TryMask(this, instruction, out MaskedOperand mask);
        bool checks = !masked || (mask.Mask != 0 && IsMisaligned(instruction.Code, linear));
        if (checks && IsRefused(instruction, linear, size, store))
        {
            return DeliverRaised();
        }

        if (write && !(masked ? MaskedMoves.ProbeMasked(this, linear, size, mask) : Memory.ProbeLinear(linear, size, write: true)))
        {
            return DeliverAccessFault(instruction, store);
        }

        byte* buffer = _window + StateLayout.Bounce + (linear & 63);
        var data = new Span<byte>(buffer, size);
        if (read && !masked && !Memory.ReadLinear(linear, data))
        {
            return DeliverRaised();
        }

        // What a store leaves out is not written back, so that only loads read.
        if (masked && !write && !MaskedMoves.ReadMasked(this, linear, data, mask))
        {
            return DeliverAccessFault(instruction, store);
        }

        if (!Mmu.TranslateFetch(LinearRip, out ulong gpa))
        {
            return DeliverRaised();
        }

        CpuMode mode = Mode.Current;
        ulong second = 0;
        if ((gpa & 4095) + (ulong)instruction.Length > 4096 && !Mmu.TranslateFetch((LinearRip & ~0xFFFul) + 4096, out second))
        {
            return DeliverRaised();
        }

        Block? block = _code.FindBounce(gpa, LinearRip, mode);
        if (block == null || block.SecondGpa != second)
        {
            block = _code.Translate(gpa, second, LinearRip, mode, bounce: true)!;
        }

        if (block.Refused)
        {
            return Emulate(instruction);
        }

        State->BouncePointer = (ulong)buffer;
        State->CodePage = LinearRip & ~0xFFFul;
        ulong next = NextRip(State->Rip, instruction.Length);
        Enter(block.Entry, simd: false);
        if (State->FaultSignal != 0)
        {
            return HostFault();
        }

        if (write && !(masked ? MaskedMoves.WriteMasked(this, linear, data, mask) : Memory.WriteLinear(linear, data)))
        {
            return DeliverAccessFault(instruction, store);
        }

        State->Rip = next;
        return Outcome.Jumped;
    }

    internal long Bounces { get; private set; }

    // The processor raised an exception while it ran a guest's instruction: the guest's own.
    private Outcome HostFault()
    {
        int signal = (int)State->FaultSignal;
        State->FaultSignal = 0;
        byte* address = (byte*)State->FaultRip;
        Block? block = _code.ByHostAddress(address);
        if (block == null)
        {
            return Outcome.Shutdown;
        }

        ulong page = (block.Mode & CpuMode.User) != 0 ? State->CodePage : block.LinearPage;
        int offset = _code.GuestOffset(block, address, out bool axSaved);
        SetLinearRip(page + (ulong)offset);
        if (axSaved)
        {
            State->FlagsAx = (ushort)Gpr(0);
            Gpr(0) = State->SaveRax;
        }

        Fetch.TryDecode(out Instruction instruction);
        ClearRaised();
        Code.Host borrowed = RegisterRenaming.BorrowedBy(instruction);
        if (borrowed != Code.Host.None)
        {
            // Lent registers keep their numbers.
            Gpr((int)borrowed) = State->SaveRcx;
        }

        X87.TakeNotes(block, page, offset);
        Trace?.HostFault(this, signal, address, instruction);
        if (signal == SignalAction.Sigfpe)
        {
            // What waits for the x87 takes its exception before it could raise one of SSE's.
            bool x87 = X87.HasPending && InstructionClasses.WaitsForX87(instruction);
            Raise(instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv ? Vector.DivideError : x87 ? Vector.X87 : Vector.Simd);
        }
        else
        {
            Raise(signal switch
            {
                SignalAction.Sigill => Vector.InvalidOpcode,
                SignalAction.Sigbus => Vector.AlignmentCheck,
                _ => Vector.GeneralProtection,
            });
        }

        return DeliverRaised();
    }
}
