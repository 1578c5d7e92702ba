using System.Buffers.Binary;
using Yadokari.Devices.Interrupts;

namespace Yadokari.Machines.Vcpus;

/// <summary>
/// What firmware leaves in the first processor's local APIC (Intel MultiProcessor Specification 1.4, 3.6.2.2): the 8259s' interrupts pass
/// through LINT0, NMI through LINT1.
/// </summary>
internal static class VirtualWire
{
    private const ulong SpuriousVector = 0xF0;
    private const ulong Lint0 = 0x350;
    private const ulong Lint1 = 0x360;
    private const uint EnabledWithVectorFF = 0x1FF;
    private const uint ExtInt = 0x700;
    private const uint Nmi = 0x400;

    /// <summary>Sets it up after a reset.</summary>
    public static void Enable(LocalApic apic)
    {
        Span<byte> word = stackalloc byte[4];
        foreach ((ulong register, uint value) in (ReadOnlySpan<(ulong, uint)>)[(SpuriousVector, EnabledWithVectorFF), (Lint0, ExtInt), (Lint1, Nmi)])
        {
            BinaryPrimitives.WriteUInt32LittleEndian(word, value);
            apic.Write(register, word);
        }
    }
}
