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
            if (site->Kind == SiteKind.Gone)
            {
                ExitsByKind[(int)SiteKind.Gone]++;
                SetLinearRip(State->ExitValue);
                block = FindBlock(CurrentMode());
                if (block == null)
                {
                    return DeliverRaised();
                }

                if (Trace == null && (block.Mode & CpuMode.Single) == 0)
                {
                    _tlb.FillJump(State->ExitValue, block, _fetchGlobal);
                }

                return Outcome.Jumped;
            }

            Block from = _code.ByNumber(site->Block)!;
            long flushes = _code.CacheFlushes;
            ulong page = (from.Mode & CpuMode.User) != 0 ? State->CodePage : from.LinearPage;
            ulong linear = page + (ulong)site->GuestOffset;
            block = null;
            ExitsByKind[(int)site->Kind]++;
            switch (site->Kind)
            {
                case SiteKind.Miss:
                    SetLinearRip(linear);
                    TakeX87Notes(from, page, site->GuestOffset);
                    if (from.UsesSimd && RaisesPendingX87())
                    {
                        return DeliverRaised();
                    }

                    if (!Code64 && (uint)State->ExitValue + (ulong)site->Size > 1ul << 32)
                    {
                        // Whether that wraps around or exceeds the limit is for the segment to say.
                        return LimitedAccess(site->Size, site->Write != 0);
                    }

                    ulong cr2 = Cr2;
                    Reach reach = Translate(State->ExitValue, site->Write != 0, CurrentTlb, out byte* _, out ulong _);
                    if (reach == Reach.Ram && (State->ExitValue & 4095) + site->Size <= 4096 && from.Valid)
                    {
                        byte* resume = (byte*)State->ExitSite + site->Resume;
                        Enter(resume, from.UsesSimd);
                        continue;
                    }

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

                case SiteKind.Limit:
                    SetLinearRip(linear);
                    TakeX87Notes(from, page, site->GuestOffset);
                    if (from.UsesSimd && RaisesPendingX87())
                    {
                        return DeliverRaised();
                    }

                    return LimitedAccess(site->Size, site->Write != 0);

                case SiteKind.Emulate:
                    SetLinearRip(linear);
                    return Emulate(_code.Translator.Emulated(site->Extra));

                case SiteKind.Link:
                    SetLinearRip(linear);
                    block = FindBlock(CurrentMode());
                    if (block == null)
                    {
                        return DeliverRaised();
                    }

                    // The block may have gone with a cache that was full, and describe another by now, or its page with the other block's
                    // translation.
                    if (Trace == null && from.Valid && _code.CacheFlushes == flushes && (block.Mode & CpuMode.Single) == 0)
                    {
                        _code.Link(site, block, LinearRip, _fetchGlobal);
                    }

                    return Outcome.Jumped;

                case SiteKind.Lookup:
                    if (from.Mode.HasFlag(CpuMode.Code64) && !IsCanonical(State->ExitValue))
                    {
                        return RefuseBranch(from, page);
                    }

                    SetLinearRip(State->ExitValue);
                    if ((from.Mode & CpuMode.Single) != 0)
                    {
                        return Outcome.Jumped;
                    }

                    block = FindBlock(CurrentMode());
                    if (block == null)
                    {
                        return DeliverRaised();
                    }

                    if (Trace == null)
                    {
                        _tlb.FillJump(State->ExitValue, block, _fetchGlobal);
                        if (site->Resume != 0 && from.Valid && _code.CacheFlushes == flushes && (block.Mode & CpuMode.Single) == 0)
                        {
                            _code.LinkFar(site, block, (long)((State->ExitValue & ~0xFFFul) - page), State->FetchEpoch);
                        }
                    }

                    return Outcome.Jumped;

                case SiteKind.Recheck:
                    // Nothing of it ran yet. What runs one by one does so still: found for another mode, this block would never be settled.
                    SetLinearRip(linear);
                    block = FindBlock(from.Mode);
                    if (block == null)
                    {
                        return DeliverRaised();
                    }

                    if (block == from && _code.CacheFlushes == flushes)
                    {
                        *(int*)((byte*)site + site->Resume) = _tlb.FetchEpoch(from.SecondGlobal);
                    }

                    if (block != from)
                    {
                        Trace?.Enter(this, block);
                    }

                    if (block.UsesSimd)
                    {
                        FetchExtended();
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

    private Outcome Emulate(in Instruction instruction)
    {
        ulong rip = State->Rip;
        _emulated = instruction.Mnemonic;
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
        if (!Fetch(out Instruction instruction))
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

        if (write && !(masked ? MaskedMoves.ProbeMasked(this, linear, size, mask) : ProbeLinear(linear, size, write: true)))
        {
            return DeliverAccessFault(instruction, store);
        }

        byte* buffer = _window + StateLayout.Bounce + (linear & 63);
        var data = new Span<byte>(buffer, size);
        if (read && !masked && !ReadLinear(linear, data))
        {
            return DeliverRaised();
        }

        // What a store leaves out is not written back, so that only loads read.
        if (masked && !write && !MaskedMoves.ReadMasked(this, linear, data, mask))
        {
            return DeliverAccessFault(instruction, store);
        }

        if (!TranslateFetch(LinearRip, out ulong gpa))
        {
            return DeliverRaised();
        }

        CpuMode mode = CurrentMode();
        ulong second = 0;
        if ((gpa & 4095) + (ulong)instruction.Length > 4096 && !TranslateFetch((LinearRip & ~0xFFFul) + 4096, out second))
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

        if (write && !(masked ? MaskedMoves.WriteMasked(this, linear, data, mask) : WriteLinear(linear, data)))
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

        Fetch(out Instruction instruction);
        ClearRaised();
        Code.Host borrowed = Translator.BorrowedBy(instruction);
        if (borrowed != Code.Host.None)
        {
            // Lent registers keep their numbers.
            Gpr((int)borrowed) = State->SaveRcx;
        }

        TakeX87Notes(block, page, offset);
        Trace?.HostFault(this, signal, address, instruction);
        if (signal == SignalAction.Sigfpe)
        {
            // What waits for the x87 takes its exception before it could raise one of SSE's.
            bool x87 = HasPendingX87 && InstructionClasses.WaitsForX87(instruction);
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
