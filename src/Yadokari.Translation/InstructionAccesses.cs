using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation;

/// <summary>
/// Determines the memory and ports that an instruction will access, from the registers before it runs: for breakpoints and alignment checking,
/// with which instructions run one by one.
/// </summary>
/// <param name="cpu">The vCPU; all members are called on its thread.</param>
internal sealed unsafe class InstructionAccesses(Vcpu cpu)
{
    private readonly InstructionInfoFactory _info = new();

    /// <summary>
    /// Breakpoints on data and ports that the next instruction will hit, as bits of DR6.
    /// </summary>
    public ulong Hits(in Instruction instruction, in Breakpoints breakpoints)
    {
        ulong hits = PortHits(instruction, breakpoints);
        foreach (UsedMemory memory in _info.GetInfo(instruction, InstructionInfoOptions.NoRegisterUsage).GetUsedMemory())
        {
            ulong address = OffsetOf(memory, instruction);
            int segment = memory.Segment - Register.ES;
            address += (uint)segment > 5 || (cpu.Code64 && segment < 4) ? 0 : cpu.Segments[segment].Base;
            ulong size = (ulong)Math.Max(1, SizeOf(memory, instruction).GetSize());
            if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
            {
                ulong more = (Math.Max(cpu.Rcx, 1) - 1) * size;
                address -= (cpu.State->SystemFlags & (1ul << 10)) != 0 ? more : 0;
                size += more;
            }

            if (memory.Access is not (OpAccess.None or OpAccess.NoMemAccess))
            {
                hits |= breakpoints.DataHits(address, size, IsWrite(memory.Access));
            }
        }

        return hits;
    }

    /// <summary>
    /// Whether the next instruction makes a misaligned access before anything else faults. If another fault comes first, it may be raised on
    /// return.
    /// </summary>
    public bool AreUnaligned(in Instruction instruction)
    {
        bool repeats = instruction.IsStringInstruction && (instruction.HasRepPrefix || instruction.HasRepnePrefix);
        if (instruction.IsVsib || ChecksItself(instruction.Mnemonic) || (repeats && RepeatCount(instruction) == 0))
        {
            return false;
        }

        return MaskedMoves.TryMask(cpu, instruction, out MaskedOperand mask) ? HasUnalignedElement(instruction, mask)
            : HasUnalignedAccess(instruction, reads: true, out bool faults) || (!faults && HasUnalignedAccess(instruction, reads: false, out _));
    }

    // Checks each element of a masked operand.
    private bool HasUnalignedElement(in Instruction instruction, in MaskedOperand mask)
    {
        ulong offset = cpu.Memory.EffectiveAddress(instruction, out int segment);
        for (int i = 0; i < 64; i++)
        {
            if ((mask.Mask >> i & 1) == 0)
            {
                continue;
            }

            bool write = instruction.Op0Kind == OpKind.Memory;
            if (!cpu.Memory.LinearOfElement(segment, offset, i, mask.Bytes, write, out ulong linear) || cpu.Alignment.IsMisaligned(instruction.Code, linear))
            {
                return false;
            }

            if ((linear & (ulong)(mask.Bytes - 1)) != 0)
            {
                return true;
            }

            if (!cpu.Memory.ProbeLinear(linear, mask.Bytes, write))
            {
                return false;
            }
        }

        return false;
    }

    // Checks the accesses that read, or those that only write, which come after them.
    private bool HasUnalignedAccess(in Instruction instruction, bool reads, out bool faults)
    {
        faults = false;
        foreach (UsedMemory memory in _info.GetInfo(instruction, InstructionInfoOptions.NoRegisterUsage).GetUsedMemory())
        {
            bool write = IsWrite(memory.Access);
            if ((instruction.IsCallFar || instruction.IsCallFarIndirect) && IsOfStack(memory, instruction))
            {
                // Such an instruction checks its accesses itself, after its descriptors.
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

            // An operand that takes several accesses is checked from its first byte.
            bool parted = size is 10 or 14 or > 16 and not (32 or 64) || kind is MemorySize.Bound16_WordWord or MemorySize.Bound32_DwordDword;
            int part = parted ? alignment : size;

            // FXSAVE and ARPL check late whether their segment is writable.
            bool intent = write && kind != MemorySize.Fxsave_512Byte && instruction.Mnemonic != Mnemonic.Arpl;
            faults = !cpu.Memory.Linear(segment, offset, part, intent, out ulong linear) || cpu.Alignment.IsMisaligned(instruction.Code, linear);
            if (faults)
            {
                return false;
            }

            if ((linear & (ulong)(alignment - 1)) != 0)
            {
                return true;
            }

            faults = !cpu.Memory.Linear(segment, offset, size, write, out _) || !cpu.Memory.ProbeLinear(linear, size, write);
            if (faults)
            {
                return false;
            }
        }

        return false;
    }

    /// <summary>Required alignment of an access in bytes (SDM 3A table 6-7, AMD APM 2 8.2.18).</summary>
    private static int AlignmentOf(MemorySize size) => size switch
    {
        MemorySize.FpuEnv14 or MemorySize.FpuState94 or MemorySize.SegPtr16 or MemorySize.Bound16_WordWord => 2,
        MemorySize.FpuEnv28 or MemorySize.FpuState108 or MemorySize.Fxsave_512Byte or MemorySize.Fxsave64_512Byte or MemorySize.SegPtr32
            or MemorySize.Bound32_DwordDword => 4,
        MemorySize.Float80 or MemorySize.Bcd or MemorySize.SegPtr64 => 8,
        _ => size.GetSize() switch { 2 => 2, 4 => 4, 8 => 8, 16 or 32 or 64 => 16, _ => 1 },
    };

    private ulong PortHits(in Instruction instruction, in Breakpoints breakpoints)
    {
        int size = instruction.Mnemonic switch
        {
            Mnemonic.In => instruction.Op0Register.GetSize(),
            Mnemonic.Out => instruction.Op1Register.GetSize(),
            Mnemonic.Insb or Mnemonic.Outsb => 1,
            Mnemonic.Insw or Mnemonic.Outsw => 2,
            Mnemonic.Insd or Mnemonic.Outsd => 4,
            _ => 0,
        };
        if (size == 0)
        {
            return 0;
        }

        bool immediate = instruction.Op0Kind == OpKind.Immediate8 || instruction.Op1Kind == OpKind.Immediate8;
        ulong port = immediate ? instruction.Immediate8 : (ushort)cpu.Rdx;
        return breakpoints.PortHits(port, (ulong)size, cpu.Cr4);
    }

    private ulong ValueOf(Register register, in Instruction instruction) => register switch
    {
        Register.None => 0,
        Register.RIP or Register.EIP => 0, // The displacement is the address already.
        _ when register.IsGPR64() => cpu.Gpr(register.GetNumber()),
        _ when register.IsGPR32() => (uint)cpu.Gpr(register.GetNumber()),
        _ when register.IsGPR16() => (ushort)cpu.Gpr(register.GetNumber()),
        Register.AL => (byte)cpu.Rax,
        _ => 0,
    };

    private static bool IsWrite(OpAccess access) => access is not (OpAccess.Read or OpAccess.CondRead or OpAccess.None or OpAccess.NoMemAccess);

    // Elements of masked moves are not checked; the other instructions check their accesses themselves.
    private static bool ChecksItself(Mnemonic mnemonic) => mnemonic is Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd
        or Mnemonic.Vpmaskmovq or Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu or Mnemonic.Enter;

    private ulong RepeatCount(in Instruction instruction)
    {
        OpKind kind = instruction.Op0Kind is OpKind.Register ? instruction.Op1Kind : instruction.Op0Kind;
        return kind switch
        {
            OpKind.MemorySegSI or OpKind.MemorySegDI or OpKind.MemoryESDI => (ushort)cpu.Rcx,
            OpKind.MemorySegESI or OpKind.MemorySegEDI or OpKind.MemoryESEDI => (uint)cpu.Rcx,
            _ => cpu.Rcx,
        };
    }

    // The decoder reports no size for repeated accesses. MOVSXD to 16 bits reads four bytes on AMD's processors.
    private MemorySize SizeOf(in UsedMemory memory, in Instruction instruction)
        => instruction.Code == Iced.Intel.Code.Movsxd_r16_rm16 && cpu.Cpuid.Vendor == X86.Cpuid.CpuVendor.Amd ? MemorySize.Int32
            : memory.MemorySize == MemorySize.Unknown && instruction.IsStringInstruction ? instruction.MemorySize
            : memory.MemorySize;

    // The offset of an access in its segment. The decoder does not include the bit offset of BT, BTC, BTR and BTS.
    private ulong OffsetOf(in UsedMemory memory, in Instruction instruction)
    {
        if (!cpu.Code64 && IsOfStack(memory, instruction))
        {
            // The width of a stack address depends on SS, but the decoder takes it from CS.
            ulong distance = (ulong)(memory.AddressSize == CodeSize.Code16 ? (short)memory.Displacement : (int)memory.Displacement);
            return (cpu.Gpr(memory.Base.GetNumber()) + distance) & Operands.StackMask(cpu);
        }

        ulong address = memory.Displacement + ValueOf(memory.Base, instruction) + (ValueOf(memory.Index, instruction) * (ulong)memory.Scale)
            + BitStrings.BitStringDistance(cpu, instruction);
        return memory.AddressSize switch { CodeSize.Code16 => (ushort)address, CodeSize.Code32 => (uint)address, _ => address };
    }

    // Whether an access is a push or pop of the instruction, not its memory operand.
    private static bool IsOfStack(in UsedMemory memory, in Instruction instruction)
        => instruction.IsStackInstruction
            && memory.Base is Register.SP or Register.ESP or Register.RSP or Register.BP or Register.EBP or Register.RBP
            && (instruction.Op0Kind != OpKind.Memory || IsWrite(memory.Access) == (instruction.StackPointerIncrement < 0));

    // The segment of an access, 0 to 5.
    private int SegmentOf(in UsedMemory memory)
        => !cpu.Code64 || memory.Segment is Register.FS or Register.GS ? memory.Segment - Register.ES
            : memory.Base is Register.RSP or Register.RBP or Register.ESP or Register.EBP ? 2 : 3;
}
