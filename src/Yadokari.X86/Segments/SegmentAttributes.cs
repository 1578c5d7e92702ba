using Yadokari.X86.State;

namespace Yadokari.X86.Segments;

/// <summary>Bits of <see cref="SegmentState.Attributes"/>.</summary>
public static class SegmentAttributes
{
    /// <summary>Bits 0 to 3: the type.</summary>
    public const ushort TypeMask = 0xF;

    /// <summary>Type bit 0: accessed.</summary>
    public const ushort Accessed = 1 << 0;

    /// <summary>Type bit 1: data may be written, code may be read.</summary>
    public const ushort WritableOrReadable = 1 << 1;

    /// <summary>Type bit 2: data grows down, code conforms.</summary>
    public const ushort DownOrConforming = 1 << 2;

    /// <summary>Type bit 3: code.</summary>
    public const ushort Code = 1 << 3;

    /// <summary>S: a code or data segment.</summary>
    public const ushort CodeOrData = 1 << 4;

    /// <summary>Where the two bits of the DPL begin.</summary>
    public const int DplShift = 5;

    /// <summary>P: present.</summary>
    public const ushort Present = 1 << 7;

    /// <summary>L: 64-bit code.</summary>
    public const ushort Long = 1 << 13;

    /// <summary>D/B: 32-bit code or stack.</summary>
    public const ushort Big = 1 << 14;

    /// <summary>G: the limit counts pages.</summary>
    public const ushort Granularity = 1 << 15;

    /// <summary>Flat 64-bit code, DPL 0, as SYSCALL loads it.</summary>
    public const ushort Code64 = Present | CodeOrData | Code | WritableOrReadable | Accessed | Long | Granularity;

    /// <summary>Flat 32-bit code, DPL 0.</summary>
    public const ushort Code32 = Present | CodeOrData | Code | WritableOrReadable | Accessed | Big | Granularity;

    /// <summary>Flat data, DPL 0, as SYSCALL loads it into SS.</summary>
    public const ushort Data32 = Present | CodeOrData | WritableOrReadable | Accessed | Big | Granularity;

    /// <summary>16-bit code or data of real mode.</summary>
    public const ushort RealMode = Present | CodeOrData | WritableOrReadable | Accessed;

    /// <summary>A busy 32-bit or 64-bit TSS.</summary>
    public const ushort BusyTss = Present | 11;

    /// <summary>The same attributes at another privilege level.</summary>
    public static ushort WithDpl(ushort attributes, int dpl) => (ushort)((attributes & ~(3 << DplShift)) | (dpl << DplShift));

    /// <summary>The DPL in the attributes.</summary>
    public static int Dpl(ushort attributes) => (attributes >> DplShift) & 3;

    /// <summary>A segment register as real mode or virtual-8086 mode loads it.</summary>
    public static SegmentState Real(ushort selector) => new(selector, (ulong)selector << 4, 0xFFFF, RealMode);
}

/// <summary>A selector and the error code made of it (Intel SDM volume 3, 3.4.2 and 7.13).</summary>
public static class Selector
{
    /// <summary>Error code bit 0: the event was external to the program.</summary>
    public const uint External = 1;

    /// <summary>Error code bit 1: the index is one of the IDT.</summary>
    public const uint InIdt = 2;

    /// <summary>The requested privilege level.</summary>
    public static int Rpl(ushort selector) => selector & 3;

    /// <summary>Whether it names an entry of the LDT.</summary>
    public static bool IsLocal(ushort selector) => (selector & 4) != 0;

    /// <summary>Offset of the descriptor in its table.</summary>
    public static uint Offset(ushort selector) => (uint)selector & 0xFFF8;

    /// <summary>Whether it is a null selector: index 0 of the GDT with any RPL.</summary>
    public static bool IsNull(ushort selector) => (selector & 0xFFFC) == 0;

    /// <summary>The error code of a fault about this selector.</summary>
    public static uint ErrorCode(ushort selector, bool external = false) => ((uint)selector & 0xFFFC) | (external ? External : 0);

    /// <summary>The error code of a fault about an entry of the IDT.</summary>
    public static uint IdtErrorCode(byte vector, bool external = false) => ((uint)vector << 3) | InIdt | (external ? External : 0);
}
