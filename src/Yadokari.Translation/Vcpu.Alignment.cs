using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation;

/// <summary>
/// Alignment checking (SDM 3A 6.15, #AC): with CR0.AM and EFLAGS.AC at level 3, in blocks of one instruction, whose accesses are looked at
/// before it runs.
/// </summary>
internal sealed unsafe partial class Vcpu
{
    private const ulong FlagAlignment = 1ul << 18;

    // MXCSR.MM (AMD APM 1 4.2.2), and where the area of extended state has MXCSR (SDM 1 13.4.1).
    private const uint MisalignedMask = 1 << 17;
    private const int MxcsrOffset = 24;

    /// <summary>Whether accesses must be aligned now.</summary>
    internal bool ChecksAlignment => Cpl == 3 && (State->SystemFlags & FlagAlignment) != 0 && (Cr0 & X86.Cr0.AM) != 0;

    /// <summary>
    /// Whether the instruction at RIP, which was fetched already, accesses memory at an address that its alignment does not allow; raises
    /// #AC then. That comes before the page of that access is looked at, and after all that #GP and #SS are for.
    /// </summary>
    private bool IsUnaligned(CpuMode mode)
    {
        ulong cr2 = Cr2;
        FetchExtended();
        bool found = Fetch(out Instruction instruction) && MayCheck(instruction, mode)
            && !(HasPendingX87 && InstructionClasses.WaitsForX87(instruction)) && HasUnalignedAccess(instruction);
        Cr2 = cr2;
        ClearRaised();
        if (found)
        {
            Raise(Vector.AlignmentCheck);
        }

        return found;
    }

    // Invalid and privileged instructions fault without an access, and so do those whose unit is switched off.
    private bool MayCheck(in Instruction instruction, CpuMode mode)
    {
        const CpuMode Traps = CpuMode.SimdTrap | CpuMode.SseTrap | CpuMode.AvxTrap | CpuMode.Avx512Trap;
        return !instruction.IsInvalid && !instruction.IsPrivileged && _vm.InstructionSet.Has(instruction)
            && ((mode & Traps) == 0 || !InstructionClasses.UsesSimd(instruction.Code))
            && InstructionClasses.TreatmentOf(instruction.Code) switch
            {
                Treatment.Nothing or Treatment.Address => false,
                Treatment.Emulate => Emulator.Handles(instruction.Code),
                _ => true,
            };
    }

    private bool HasUnalignedAccess(in Instruction instruction)
    {
        bool repeats = instruction.IsStringInstruction && (instruction.HasRepPrefix || instruction.HasRepnePrefix);
        if (instruction.IsVsib || ChecksItself(instruction.Mnemonic) || (repeats && RepeatCount(instruction) == 0))
        {
            return false;
        }

        return MaskedMoves.TryMask(this, instruction, out MaskedOperand mask) ? HasUnalignedElement(instruction, mask)
            : HasUnalignedAccess(instruction, reads: true, out bool faults) || (!faults && HasUnalignedAccess(instruction, reads: false, out _));
    }

    // Under a mask each element stands for itself.
    private bool HasUnalignedElement(in Instruction instruction, in MaskedOperand mask)
    {
        ulong offset = EffectiveAddress(instruction, out int segment);
        for (int i = 0; i < 64; i++)
        {
            if ((mask.Mask >> i & 1) == 0)
            {
                continue;
            }

            bool write = instruction.Op0Kind == OpKind.Memory;
            if (!LinearOfElement(segment, offset, i, mask.Bytes, write, out ulong linear) || IsMisaligned(instruction.Code, linear))
            {
                return false;
            }

            if ((linear & (ulong)(mask.Bytes - 1)) != 0)
            {
                return true;
            }

            if (!ProbeLinear(linear, mask.Bytes, write))
            {
                return false;
            }
        }

        return false;
    }

    // Of the accesses that read, or of those that only write, which come after them.
    private bool HasUnalignedAccess(in Instruction instruction, bool reads, out bool faults)
    {
        faults = false;
        foreach (UsedMemory memory in _accesses.GetInfo(instruction, InstructionInfoOptions.NoRegisterUsage).GetUsedMemory())
        {
            bool write = IsWrite(memory.Access);
            if ((instruction.IsCallFar || instruction.IsCallFarIndirect) && IsOfStack(memory, instruction))
            {
                // Descriptors come first: it checks itself.
                continue;
            }

            if (memory.Access is OpAccess.None or OpAccess.NoMemAccess || reads == (memory.Access is OpAccess.Write or OpAccess.CondWrite))
            {
                continue;
            }

            MemorySize kind = SizeOf(memory, instruction);
            int size = Math.Max(1, kind.GetSize());
            int alignment = AlignmentOf(kind);
            int segment = SegmentOf(memory);
            ulong offset = OffsetOf(memory, instruction);

            // What is no single access is looked at from its beginning.
            bool parted = size is 10 or 14 or > 16 and not (32 or 64) || kind is MemorySize.Bound16_WordWord or MemorySize.Bound32_DwordDword;
            int part = parted ? alignment : size;

            // These look late whether their segment may be written.
            bool intent = write && kind != MemorySize.Fxsave_512Byte && instruction.Mnemonic != Mnemonic.Arpl;
            faults = !Linear(segment, offset, part, intent, out ulong linear) || IsMisaligned(instruction.Code, linear);
            if (faults)
            {
                return false;
            }

            if ((linear & (ulong)(alignment - 1)) != 0)
            {
                return true;
            }

            faults = !Linear(segment, offset, size, write, out _) || !ProbeLinear(linear, size, write);
            if (faults)
            {
                return false;
            }
        }

        return false;
    }

    /// <summary>What an access of a kind must be a multiple of (SDM 3A table 6-7, AMD APM 2 8.2.18).</summary>
    private static int AlignmentOf(MemorySize size) => size switch
    {
        MemorySize.FpuEnv14 or MemorySize.FpuState94 or MemorySize.SegPtr16 or MemorySize.Bound16_WordWord => 2,
        MemorySize.FpuEnv28 or MemorySize.FpuState108 or MemorySize.Fxsave_512Byte or MemorySize.Fxsave64_512Byte or MemorySize.SegPtr32
            or MemorySize.Bound32_DwordDword => 4,
        MemorySize.Float80 or MemorySize.Bcd or MemorySize.SegPtr64 => 8,
        _ => size.GetSize() switch { 2 => 2, 4 => 4, 8 => 8, 16 or 32 or 64 => 16, _ => 1 },
    };

    private bool IsMisaligned(Iced.Intel.Code code, ulong linear)
        => (linear & (ulong)(InstructionClasses.AlignmentOf(code) - 1)) != 0

            // SAFETY: the window holds the area, with MXCSR in it, for as long as the vCPU lives.
            && !(InstructionClasses.MayMisalign(code) && (*(uint*)(XsaveArea + MxcsrOffset) & MisalignedMask) != 0);

    private static bool IsWrite(OpAccess access) => access is not (OpAccess.Read or OpAccess.CondRead or OpAccess.None or OpAccess.NoMemAccess);

    // Elements of the masked moves are not checked; the others check as they go along.
    private static bool ChecksItself(Mnemonic mnemonic) => mnemonic is Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd
        or Mnemonic.Vpmaskmovq or Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu or Mnemonic.Enter;

    private ulong RepeatCount(in Instruction instruction)
    {
        OpKind kind = instruction.Op0Kind is OpKind.Register ? instruction.Op1Kind : instruction.Op0Kind;
        return kind switch
        {
            OpKind.MemorySegSI or OpKind.MemorySegDI or OpKind.MemoryESDI => (ushort)Rcx,
            OpKind.MemorySegESI or OpKind.MemorySegEDI or OpKind.MemoryESEDI => (uint)Rcx,
            _ => Rcx,
        };
    }

    // The decoder tells no size where an access is repeated. MOVSXD to 16 bits reads four bytes on AMD's processors.
    private MemorySize SizeOf(in UsedMemory memory, in Instruction instruction)
        => instruction.Code == Iced.Intel.Code.Movsxd_r16_rm16 && Cpuid.Vendor == X86.Cpuid.CpuVendor.Amd ? MemorySize.Int32
            : memory.MemorySize == MemorySize.Unknown && instruction.IsStringInstruction ? instruction.MemorySize
            : memory.MemorySize;

    // The offset of an access in its segment. The decoder does not know how far the bit is of BT, BTC, BTR and BTS.
    private ulong OffsetOf(in UsedMemory memory, in Instruction instruction)
    {
        if (!Code64 && IsOfStack(memory, instruction))
        {
            // Nor how wide the stack's addresses are, which the stack segment says and not the code segment.
            ulong distance = (ulong)(memory.AddressSize == CodeSize.Code16 ? (short)memory.Displacement : (int)memory.Displacement);
            return (Gpr(memory.Base.GetNumber()) + distance) & Operands.StackMask(this);
        }

        ulong address = memory.Displacement + ValueOf(memory.Base, instruction) + (ValueOf(memory.Index, instruction) * (ulong)memory.Scale)
            + BitStrings.BitStringDistance(this, instruction);
        return memory.AddressSize switch { CodeSize.Code16 => (ushort)address, CodeSize.Code32 => (uint)address, _ => address };
    }

    // Whether an access is what the instruction pushes or pops, and not its operand in memory.
    private static bool IsOfStack(in UsedMemory memory, in Instruction instruction)
        => instruction.IsStackInstruction
            && memory.Base is Register.SP or Register.ESP or Register.RSP or Register.BP or Register.EBP or Register.RBP
            && (instruction.Op0Kind != OpKind.Memory || IsWrite(memory.Access) == (instruction.StackPointerIncrement < 0));

    // The segment of an access, 0 to 5: as that of an instruction's operand.
    private int SegmentOf(in UsedMemory memory)
        => !Code64 || memory.Segment is Register.FS or Register.GS ? memory.Segment - Register.ES
            : memory.Base is Register.RSP or Register.RBP or Register.ESP or Register.EBP ? 2 : 3;
}
