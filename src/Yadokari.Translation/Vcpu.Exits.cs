using System.Diagnostics;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Linux;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;
using Yadokari.Translation.Memory;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation;

/// <summary>Handling of exits from translated code.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Handles an exit of translated code. On return, RIP is exact and <paramref name="block"/> is the block to run next, if known.</summary>
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
            if (site->Kind == SiteKind.Invalidated)
            {
                return FollowInvalidated(out block);
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
                    if (!Accesses.FillsTlb(site, from, out Outcome outcome))
                    {
                        return outcome;
                    }

                    Enter((byte*)State->ExitSite + site->Resume, from.UsesSimd);
                    continue;

                case SiteKind.Limit:
                    SetLinearRip(linear);
                    X87.TakeNotes(from, page, site->GuestOffset);
                    return from.UsesSimd && X87.RaisesPending() ? DeliverRaised() : Accesses.LimitedAccess(site->Size, site->Write != 0);

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

    // An indirect jump or a return whose target block was invalidated.
    private Outcome FollowInvalidated(out Block? block)
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

    // A direct jump that is not linked to its target block yet.
    private Outcome FollowLink(Site* site, Block from, out Block? block)
    {
        long flushes = _code.CacheFlushes;
        block = Fetch.FindBlock(Mode.Current);
        if (block == null)
        {
            return DeliverRaised();
        }

        // Finding the target may have translated it. That flushes a full cache, after which the jump's Block object may be reused, and serves
        // requests that may drop the jump's page.
        if (Trace == null && from.Valid && _code.CacheFlushes == flushes && (block.Mode & CpuMode.Single) == 0)
        {
            _code.Link(site, block, LinearRip, Mmu.FetchIsGlobal);
        }

        return Outcome.Jumped;
    }

    // An indirect jump, or a direct jump to another page.
    private Outcome FollowLookup(Site* site, Block from, ulong page, out Block? block)
    {
        block = null;
        if (from.Mode.HasFlag(CpuMode.Code64) && !Operands.IsCanonical(State->ExitValue))
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

    // Finds the block of an instruction that crosses pages and has not begun, because the mapping of its second page may have changed. Returns null
    // after raising a fault. Uses the block's own mode: with another one (single stepping has its own), the block would be rechecked for ever.
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

    /// <summary>Undoes a near branch to a non-canonical address, and raises the #GP that the branch itself takes (SDM 2A JMP, CALL, RET).</summary>
    private Outcome RefuseBranch(Block from, ulong page)
    {
        SetLinearRip(page + from.Table[2 * (from.Instructions - 1)]);
        if (!Fetch.TryDecode(out Instruction instruction))
        {
            return DeliverRaised();
        }

        switch (instruction.FlowControl)
        {
            case FlowControl.Return:
                Rsp -= 8 + (instruction.OpCount == 0 ? 0u : instruction.Immediate16);
                break;
            case FlowControl.IndirectCall:
                // Restores the quadword that the return address overwrote.
                Memory.Write(Rsp, State->ReplacedTop);
                Rsp += 8;
                break;
            case FlowControl.Next:
                State->Rip += (ulong)instruction.Length;
                break;
        }

        Raise(Vector.GeneralProtection);
        return DeliverRaised();
    }

    internal Outcome Emulate(in Instruction instruction)
    {
        ulong rip = State->Rip;
        Debugging.Emulates(instruction.Mnemonic);
        Trace?.Emulate(this, instruction);
        long start = _vm.Timed ? Stopwatch.GetTimestamp() : 0;
        Outcome outcome;
        using (Atomically(instruction))
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

    internal ulong NextRip(ulong rip, int length) => Code64 ? rip + (ulong)length
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

    // A copied guest instruction caused a host signal: raises the exception in the guest.
    internal Outcome HostFault()
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
            // The host register borrowed for the address has the guest register's number.
            Gpr((int)borrowed) = State->SaveRcx;
        }

        X87.TakeNotes(block, page, offset);
        Trace?.HostFault(this, signal, address, instruction);
        if (signal == SignalAction.Sigfpe)
        {
            // A waiting instruction takes a pending x87 exception before a SIMD exception of its own.
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
