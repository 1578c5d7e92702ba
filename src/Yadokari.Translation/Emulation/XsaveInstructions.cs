using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.X86;
using Yadokari.X86.Cpuid;
using static Yadokari.Translation.Emulation.Identification;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.X87State;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// XSAVE, FXSAVE and related instructions: copy state between guest memory and the vCPU's area, which has the standard format with the host's offsets.
/// The guest's CPUID reports the same offsets.
/// </summary>
internal static unsafe class XsaveInstructions
{
    private const int LegacyLength = 512;
    private const int HeaderLength = 64;
    private const int StateBvOffset = 512;
    internal const int MxcsrOffset = 24;
    internal const int XmmOffset = 160;
    private const uint MxcsrInitial = 0x1F80;
    private static readonly uint s_mxcsrMask = HostMxcsr.Mask;
    internal const ulong ComponentX87 = 1;
    internal const ulong ComponentSse = 2;
    internal const ulong ComponentAvx = 4;
    private const ulong Compacted = 1ul << 63;

    internal static void Add(HandlerTable table)
    {
        table.On(&Xsave, Mnemonic.Xsave, Mnemonic.Xsave64);
        table.On(&Xsaveopt, Mnemonic.Xsaveopt, Mnemonic.Xsaveopt64);
        table.On(&Xsavec, Mnemonic.Xsavec, Mnemonic.Xsavec64);
        table.On(&Xrstor, Mnemonic.Xrstor, Mnemonic.Xrstor64);
        table.On(&Fxsave, Mnemonic.Fxsave, Mnemonic.Fxsave64);
        table.On(&Fxrstor, Mnemonic.Fxrstor, Mnemonic.Fxrstor64);
    }

    /// <summary>The vCPU's area: legacy region, header, extended region.</summary>
    // SAFETY: the window contains the whole area until the vCPU is disposed; this holds for the references below too.
    internal static Span<byte> AreaOf(Vcpu cpu) => new(cpu.XsaveArea, StateLayout.XsaveLength);

    /// <summary>Components that are not in their initial state.</summary>
    internal static ref ulong InUse(Vcpu cpu) => ref Unsafe.AsRef<ulong>(cpu.XsaveArea + StateBvOffset);

    private static ref uint Mxcsr(Vcpu cpu) => ref Unsafe.AsRef<uint>(cpu.XsaveArea + MxcsrOffset);

    private static Outcome Xsave(Vcpu cpu, in Instruction instruction) => SaveState(cpu, instruction, compact: false, all: true);

    private static Outcome Xsaveopt(Vcpu cpu, in Instruction instruction) => SaveState(cpu, instruction, compact: false, all: false);

    private static Outcome Xsavec(Vcpu cpu, in Instruction instruction) => SaveState(cpu, instruction, compact: true, all: false);

    // SDM 1 13.7 (XSAVE), 13.9 (XSAVEOPT), 13.10 (XSAVEC).
    private static Outcome SaveState(Vcpu cpu, in Instruction instruction, bool compact, bool all)
    {
        ulong wanted = Pair(cpu) & cpu.Xcr0;
        int length = AreaLength(cpu, wanted, compact);
        if (!StateAddress(cpu, instruction, length, write: true, out ulong linear)
            || !cpu.Memory.Read(linear + StateBvOffset, out ulong oldBv))
        {
            return Outcome.Fault;
        }

        MakeInitial(cpu);
        Span<byte> area = AreaOf(cpu);
        ulong live = InUse(cpu) & wanted;
        if (compact && (wanted & ComponentSse) != 0 && Mxcsr(cpu) != MxcsrInitial)
        {
            live |= ComponentSse;
        }

        ulong written = all ? wanted : live;
        bool done = (written & ComponentX87) == 0 || WriteX87(cpu, instruction, linear);
        if ((wanted & (compact ? ComponentSse : ComponentSse | ComponentAvx)) != 0)
        {
            done = done && cpu.Memory.Write(linear + MxcsrOffset, ((ulong)s_mxcsrMask << 32) | Mxcsr(cpu));
        }

        if ((written & ComponentSse) != 0)
        {
            done = done && cpu.Memory.WriteLinear(linear + XmmOffset, area.Slice(XmmOffset, RegisterBytes(cpu, 256)));
        }

        int place = LegacyLength + HeaderLength;
        for (int index = 2; index < 63 && wanted >> index != 0; index++)
        {
            if ((wanted >> index & 1) == 0)
            {
                continue;
            }

            Component(cpu, index, compact, ref place, out int from, out int size, out int to);
            if ((written >> index & 1) != 0)
            {
                done = done && cpu.Memory.WriteLinear(linear + (ulong)to, area.Slice(from, ModeBytes(cpu, index, size)));
            }
        }

        ulong bv = compact ? live : (oldBv & ~wanted) | live;
        done = done
            && cpu.Memory.Write(linear + StateBvOffset, bv)
            && (!compact || cpu.Memory.Write(linear + StateBvOffset + 8, wanted | Compacted));
        return done ? Outcome.Next : Outcome.Fault;
    }

    // SDM 1 13.8.
    private static Outcome Xrstor(Vcpu cpu, in Instruction instruction)
    {
        Span<ulong> header = stackalloc ulong[8];
        ulong wanted = Pair(cpu) & cpu.Xcr0;
        if (!StateAddress(cpu, instruction, LegacyLength + HeaderLength, write: false, out ulong linear)
            || !cpu.Memory.ReadLinear(linear + StateBvOffset, MemoryMarshal.AsBytes(header)))
        {
            return Outcome.Fault;
        }

        ulong bv = header[0];
        bool compact = (header[1] & Compacted) != 0;
        ulong format = header[1] & ~Compacted;
        bool valid = compact
            ? (format & ~cpu.Xcr0) == 0 && (bv & ~format) == 0 && !header[2..].ContainsAnyExcept(0ul)
            : (bv & ~cpu.Xcr0) == 0 && header[1] == 0 && header[2] == 0;
        if (!valid)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        int length = AreaLength(cpu, compact ? format : wanted, compact);
        if (!cpu.Memory.ProbeLinear(linear, length, write: false) || !cpu.Memory.Read(linear + MxcsrOffset, out uint mxcsr))
        {
            return Outcome.Fault;
        }

        ulong loaded = wanted & bv;
        bool loadsMxcsr = compact ? (loaded & ComponentSse) != 0 : (wanted & (ComponentSse | ComponentAvx)) != 0;
        if (loadsMxcsr && (mxcsr & ~s_mxcsrMask) != 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        MakeInitial(cpu);
        Span<byte> area = AreaOf(cpu);
        ulong keeps = InUse(cpu) & ~wanted;
        bool done = true;
        if ((loaded & ComponentX87) != 0)
        {
            done = ReadX87(cpu, instruction, linear);
        }
        else if ((wanted & ComponentX87) != 0)
        {
            cpu.X87.Pointers = default;
        }

        if (loadsMxcsr)
        {
            Mxcsr(cpu) = mxcsr;
        }
        else if ((wanted & ComponentSse) != 0)
        {
            Mxcsr(cpu) = MxcsrInitial;
        }

        if ((loaded & ComponentSse) != 0)
        {
            done = done && cpu.Memory.ReadLinear(linear + XmmOffset, area.Slice(XmmOffset, RegisterBytes(cpu, 256)));
        }

        int place = LegacyLength + HeaderLength;
        ulong present = compact ? format : wanted;
        for (int index = 2; index < 63 && present >> index != 0; index++)
        {
            if ((present >> index & 1) == 0)
            {
                continue;
            }

            Component(cpu, index, compact, ref place, out int to, out int size, out int from);
            if ((loaded >> index & 1) != 0)
            {
                done = done && cpu.Memory.ReadLinear(linear + (ulong)from, area.Slice(to, ModeBytes(cpu, index, size)));
            }
        }

        if (!done)
        {
            return Outcome.Fault;
        }

        InUse(cpu) = keeps | loaded;
        MakeInitial(cpu);
        return Outcome.Next;
    }

    // SDM 2A FXSAVE.
    private static Outcome Fxsave(Vcpu cpu, in Instruction instruction)
    {
        if (!FxAddress(cpu, instruction, write: true, out ulong linear))
        {
            return Outcome.Fault;
        }

        MakeInitial(cpu);
        bool done = WriteX87(cpu, instruction, linear)
            && cpu.Memory.Write(linear + MxcsrOffset, ((ulong)s_mxcsrMask << 32) | Mxcsr(cpu))
            && cpu.Memory.WriteLinear(linear + XmmOffset, AreaOf(cpu).Slice(XmmOffset, RegisterBytes(cpu, 256)));
        return done ? Outcome.Next : Outcome.Fault;
    }

    // SDM 2A FXRSTOR.
    private static Outcome Fxrstor(Vcpu cpu, in Instruction instruction)
    {
        if (!FxAddress(cpu, instruction, write: false, out ulong linear) || !cpu.Memory.Read(linear + MxcsrOffset, out uint mxcsr))
        {
            return Outcome.Fault;
        }

        if ((mxcsr & ~s_mxcsrMask) != 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        MakeInitial(cpu);
        if (!ReadX87(cpu, instruction, linear) || !cpu.Memory.ReadLinear(linear + XmmOffset, AreaOf(cpu).Slice(XmmOffset, RegisterBytes(cpu, 256))))
        {
            return Outcome.Fault;
        }

        Mxcsr(cpu) = mxcsr;
        InUse(cpu) |= ComponentX87 | ComponentSse;
        return Outcome.Next;
    }

    /// <summary>
    /// Writes the initial content of components that are not in use to the vCPU's area, so that it can be copied as a whole.
    /// </summary>
    internal static void MakeInitial(Vcpu cpu)
    {
        Span<byte> area = AreaOf(cpu);
        ulong inUse = InUse(cpu);
        if ((inUse & ComponentX87) == 0)
        {
            area[..MxcsrOffset].Clear();
            area[32..XmmOffset].Clear();
            MemoryMarshal.Write(area, (ushort)0x37F);
        }

        if ((inUse & ComponentSse) == 0)
        {
            area[XmmOffset..(XmmOffset + 256)].Clear();
        }

        for (ulong rest = cpu.Cpuid.Xcr0Supported & ~inUse & ~3ul; rest != 0; rest &= rest - 1)
        {
            CpuidResult component = ComponentOf(cpu, System.Numerics.BitOperations.TrailingZeroCount(rest));
            area.Slice((int)component.Ebx, (int)component.Eax).Clear();
        }
    }

    /// <summary>Checks that the instruction may run, and that its area is aligned and accessible.</summary>
    private static bool StateAddress(Vcpu cpu, in Instruction instruction, int length, bool write, out ulong linear)
    {
        linear = 0;
        if ((cpu.Cr4 & Cr4.OSXSAVE) == 0)
        {
            return Refuse(cpu, Vector.InvalidOpcode);
        }

        if ((cpu.Cr0 & Cr0.TS) != 0)
        {
            return Refuse(cpu, Vector.DeviceNotAvailable);
        }

        return AlignedAddress(cpu, instruction, length, alignment: 64, write, out linear);
    }

    private static bool FxAddress(Vcpu cpu, in Instruction instruction, bool write, out ulong linear)
    {
        linear = 0;
        if ((cpu.Cr0 & (Cr0.TS | Cr0.EM)) != 0)
        {
            return Refuse(cpu, Vector.DeviceNotAvailable);
        }

        return AlignedAddress(cpu, instruction, LegacyLength, alignment: 16, write, out linear);
    }

    // #GP for a misaligned area has priority over #SS for one on the stack that ends beyond the canonical addresses.
    private static bool AlignedAddress(Vcpu cpu, in Instruction instruction, int length, int alignment, bool write, out ulong linear)
    {
        if (!Address(cpu, instruction, 1, write, out linear))
        {
            return false;
        }

        return (linear & (ulong)(alignment - 1)) != 0 ? Refuse(cpu, Vector.GeneralProtection)
            : Address(cpu, instruction, length, write, out linear) && cpu.Memory.ProbeLinear(linear, length, write);
    }

    // Control, status, tags, pointers; the eight registers. SDM 1 10.5.1: offsets of 64 bits by a REX.W prefix, else of 32 with selectors.
    private static bool WriteX87(Vcpu cpu, in Instruction instruction, ulong linear)
    {
        Span<byte> area = AreaOf(cpu);
        Span<byte> head = stackalloc byte[MxcsrOffset];
        head.Clear();
        area[..5].CopyTo(head);
        if (HostX87.Saving == X87PointerSaving.Always || cpu.X87.HasPending)
        {
            cpu.X87.Store(head);
            if (!IsWide(instruction))
            {
                MemoryMarshal.Write(head[12..], HostX87.HasSelectors ? cpu.X87.Pointers.CodeSelector : 0u);
                MemoryMarshal.Write(head[20..], HostX87.HasSelectors ? cpu.X87.Pointers.DataSelector : 0u);
            }
        }
        else if (HostX87.Saving == X87PointerSaving.Never)
        {
            head = head[..6];
        }

        return cpu.Memory.WriteLinear(linear, head) && cpu.Memory.WriteLinear(linear + 32, area[32..XmmOffset]);
    }

    private static bool ReadX87(Vcpu cpu, in Instruction instruction, ulong linear)
    {
        Span<byte> area = AreaOf(cpu);
        Span<byte> head = stackalloc byte[MxcsrOffset];
        if (!cpu.Memory.ReadLinear(linear, head) || !cpu.Memory.ReadLinear(linear + 32, area[32..XmmOffset]))
        {
            return false;
        }

        MemoryMarshal.Write(area, ControlWord(MemoryMarshal.Read<ushort>(head)));
        head[2..5].CopyTo(area[2..]);
        Summarize(area);

        // Each register uses ten of its sixteen bytes.
        for (int i = 0; i < 8; i++)
        {
            area.Slice(32 + (i * 16) + 10, 6).Clear();
        }

        ulong code = MemoryMarshal.Read<ulong>(head[8..]);
        ulong data = MemoryMarshal.Read<ulong>(head[16..]);
        bool wide = IsWide(instruction);
        cpu.X87.Pointers = new X87Pointers
        {
            Opcode = (ushort)(MemoryMarshal.Read<ushort>(head[6..]) & 0x7FF),
            Instruction = wide ? HostX87.Held(code) : (uint)code,
            CodeSelector = wide ? (ushort)0 : (ushort)(code >> 32),
            Operand = wide ? HostX87.Held(data) : (uint)data,
            DataSelector = wide ? (ushort)0 : (ushort)(data >> 32),
        };
        return true;
    }

    private static bool IsWide(in Instruction instruction) => instruction.Mnemonic is Mnemonic.Fxsave64 or Mnemonic.Fxrstor64
        or Mnemonic.Xsave64 or Mnemonic.Xsaveopt64 or Mnemonic.Xsavec64 or Mnemonic.Xrstor64;

    /// <summary>Outside 64-bit mode half of the vector registers exist.</summary>
    private static int RegisterBytes(Vcpu cpu, int all) => cpu.Code64 ? all : all / 2;

    // Components: 2 upper halves of YMM, 5 mask registers, 6 upper halves of ZMM0 to 15, 7 ZMM16 to 31 (SDM 1 13.5).
    private static int ModeBytes(Vcpu cpu, int index, int size)
        => cpu.Code64 ? size : index switch { 2 or 6 => size / 2, 7 => 0, _ => size };

    internal static CpuidResult ComponentOf(Vcpu cpu, int index) => cpu.Cpuid.Query(0xD, (uint)index, default);

    private static int AreaLength(Vcpu cpu, ulong components, bool compact)
    {
        int length = LegacyLength + HeaderLength;
        int place = length;
        for (int index = 2; index < 63 && components >> index != 0; index++)
        {
            if ((components >> index & 1) != 0)
            {
                Component(cpu, index, compact, ref place, out _, out int size, out int offset);
                length = Math.Max(length, offset + size);
            }
        }

        return length;
    }

    /// <summary>Offsets of a component in the vCPU's area and in the guest's; the compacted format packs them (SDM 1 13.4.3).</summary>
    private static void Component(Vcpu cpu, int index, bool compact, ref int place, out int own, out int size, out int guest)
    {
        CpuidResult component = ComponentOf(cpu, index);
        size = (int)component.Eax;
        own = (int)component.Ebx;
        if ((component.Ecx & 2) != 0)
        {
            place = (place + 63) & ~63;
        }

        guest = compact ? place : own;
        place += size;
    }
}
