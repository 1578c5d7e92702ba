using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Operands;

namespace Yadokari.Translation.Emulation;

/// <summary>A descriptor of the GDT, LDT or IDT (SDM 3A 3.4.5, 3.5, 5.8.3, 6.11); the second word is used in long mode only.</summary>
internal readonly struct Descriptor(ulong low, ulong high = 0)
{
    public const int TaskGate = 5;
    public const int CallGate16 = 4;
    public const int CallGate32 = 12;
    public const int Ldt = 2;
    public const int TssAvailable16 = 1;
    public const int TssBusy16 = 3;
    public const int TssAvailable32 = 9;
    public const int TssBusy32 = 11;

    /// <summary>Type with the S bit as bit 4: below 16 a system descriptor.</summary>
    public int Type => (int)(low >> 40) & 0x1F;

    public int Dpl => (int)(low >> 45) & 3;

    public bool Present => (low >> 47 & 1) != 0;

    public bool Long => (low >> 53 & 1) != 0;

    public bool Big => (low >> 54 & 1) != 0;

    public bool IsCode => (Type & 0x18) == 0x18;

    public bool IsData => (Type & 0x18) == 0x10;

    public bool IsConforming => (Type & 0x1C) == 0x1C;

    public bool IsWritable => (Type & 0x1A) == 0x12;

    /// <summary>Data, or code that may be read.</summary>
    public bool IsReadable => IsData || (Type & 0x1A) == 0x1A;

    public bool Accessed => (low >> 40 & 1) != 0;

    public ulong Base => (low >> 16 & 0xFFFFFF) | (low >> 56 << 24) | (high << 32);

    public uint Limit
    {
        get
        {
            uint limit = (uint)(low & 0xFFFF) | (uint)(low >> 32 & 0xF0000);
            return (low >> 55 & 1) != 0 ? (limit << 12) | 0xFFF : limit;
        }
    }

    public ushort GateSelector => (ushort)(low >> 16);

    public ulong GateOffset => (low & 0xFFFF) | (low >> 32 & 0xFFFF0000) | (high << 32);

    /// <summary>Stack table index of a 64-bit interrupt gate.</summary>
    public int GateStack => (int)(low >> 32) & 7;

    /// <summary>Parameters a call gate copies.</summary>
    public int GateParameters => (int)(low >> 32) & 31;

    /// <summary>Bits 8 to 23 of the second doubleword.</summary>
    public ushort Attributes => (ushort)(low >> 40 & 0xF0FF);

    /// <summary>Result of LAR: bits 8 to 23 of the second doubleword; 16 to 19 belong to the limit and are undefined.</summary>
    public uint Rights => (uint)(low >> 32) & 0xFFFF00;

    /// <summary>The type bits of the second half of a 16-byte descriptor: must be 0.</summary>
    public int HighType => (int)(high >> 40) & 0x1F;

    /// <summary>The segment register after loading the descriptor: accessed or busy.</summary>
    public SegmentState ToSegment(ushort selector, int setType = 1) => new(selector, Base, Limit, (ushort)(Attributes | setType));
}

/// <summary>Finding and loading descriptors.</summary>
internal static unsafe class Descriptors
{
    internal enum Lookup
    {
        Found,

        /// <summary>Null, or beyond the table's limit.</summary>
        Outside,

        /// <summary>Reading the table faulted: the exception is raised.</summary>
        Fault,
    }

    internal static bool IsNull(ushort selector) => (selector & ~3) == 0;

    /// <summary>The error code that names a selector.</summary>
    internal static uint ErrorOf(ushort selector, uint external = 0) => (selector & 0xFFFCu) | external;

    internal static Lookup Find(Vcpu cpu, ushort selector, bool wide, out Descriptor descriptor, out ulong linear)
    {
        descriptor = default;
        linear = 0;
        bool local = (selector & 4) != 0;
        if (IsNull(selector) || (local && (cpu.Segments.Ldtr.Attributes & 0x80) == 0))
        {
            return Lookup.Outside;
        }

        uint limit = local ? cpu.Segments.Ldtr.Limit : cpu.Segments.Gdtr.Limit;
        uint offset = selector & 0xFFF8u;
        if (offset + (wide ? 15u : 7u) > limit)
        {
            return Lookup.Outside;
        }

        linear = (local ? cpu.Segments.Ldtr.Base : cpu.Segments.Gdtr.Base) + offset;
        if (!cpu.LongMode)
        {
            linear = (uint)linear;
        }

        ulong high = 0;
        if (!cpu.Memory.ReadSystem(linear, out ulong low) || (wide && !cpu.Memory.ReadSystem(linear + 8, out high)))
        {
            return Lookup.Fault;
        }

        descriptor = new Descriptor(low, high);
        return Lookup.Found;
    }

    /// <summary>Reads a descriptor; if there is none, raises the given exception with the selector.</summary>
    internal static bool Fetch(Vcpu cpu, ushort selector, Vector vector, uint external, out Descriptor descriptor, out ulong linear)
        => Find(cpu, selector, wide: false, out descriptor, out linear) switch
        {
            Lookup.Found => true,
            Lookup.Outside => Refuse(cpu, vector, ErrorOf(selector, external)),
            _ => false,
        };

    /// <summary>Reads a system descriptor: 16 bytes in long mode, whose upper type must be 0.</summary>
    internal static bool FetchSystem(Vcpu cpu, ushort selector, out Descriptor descriptor, out ulong linear)
    {
        Lookup found = Find(cpu, selector, wide: cpu.LongMode, out descriptor, out linear);
        return found switch
        {
            Lookup.Found when descriptor.HighType == 0 => true,
            Lookup.Fault => false,
            _ => Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector)),
        };
    }

    /// <summary>Sets a descriptor's accessed bit where it is clear (SDM 3A 3.4.5.1).</summary>
    internal static bool MarkAccessed(Vcpu cpu, in Descriptor descriptor, ulong linear)
        => descriptor.Accessed || cpu.Memory.WriteSystem(linear + 5, (byte)(descriptor.Attributes | 1));

    /// <summary>A data segment register's new content, after all checks (SDM 2B MOV). Nothing is loaded yet.</summary>
    internal static bool ResolveData(Vcpu cpu, int index, ushort selector, out SegmentState segment)
    {
        if (!cpu.ProtectedMode)
        {
            segment = RealSegment(cpu, index, selector);
            return true;
        }

        segment = default;
        if (IsNull(selector))
        {
            if (index == Ss && !(cpu.Code64 && cpu.Cpl < 3 && (selector & 3) == cpu.Cpl))
            {
                return Refuse(cpu, Vector.GeneralProtection);
            }

            segment = NullSegment(selector, index == Ss ? cpu.Cpl : 0);
            return true;
        }

        if (!Fetch(cpu, selector, Vector.GeneralProtection, 0, out Descriptor descriptor, out ulong linear))
        {
            return false;
        }

        int rpl = selector & 3;
        bool allowed = index == Ss
            ? rpl == cpu.Cpl && descriptor.IsWritable && descriptor.Dpl == cpu.Cpl
            : descriptor.IsReadable && (descriptor.IsConforming || (rpl <= descriptor.Dpl && cpu.Cpl <= descriptor.Dpl));
        if (!allowed)
        {
            return Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!descriptor.Present)
        {
            return Refuse(cpu, index == Ss ? Vector.StackFault : Vector.SegmentNotPresent, ErrorOf(selector));
        }

        segment = descriptor.ToSegment(selector);
        return MarkAccessed(cpu, descriptor, linear);
    }

    /// <summary>
    /// The segment register after a load in real or virtual-8086 mode. In real mode, limit and size are unchanged, so that larger ones set in protected
    /// mode are kept (unreal mode).
    /// </summary>
    internal static SegmentState RealSegment(Vcpu cpu, int index, ushort selector)
    {
        ref readonly SegmentState old = ref cpu.Segments[index];
        ulong start = (ulong)selector << 4;
        ushort type = (ushort)(index == Cs ? 0x9B : 0x93);
        return cpu.Virtual8086
            ? new SegmentState(selector, start, 0xFFFF, (ushort)(type | 0x60))
            : new SegmentState(selector, start, Math.Max(old.Limit, 0xFFFF), (ushort)((old.Attributes & 0xD000) | type));
    }

    /// <summary>A null selector in a segment register: not present; the level is kept for SS.</summary>
    internal static SegmentState NullSegment(ushort selector, int level = 0) => new(selector, 0, 0, (ushort)(level << 5));
}
