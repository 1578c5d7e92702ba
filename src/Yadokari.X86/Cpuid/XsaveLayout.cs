namespace Yadokari.X86.Cpuid;

/// <summary>
/// Offsets of state components in an XSAVE area (Intel SDM volume 1, 13.4). Those of the standard format are the host's: they differ
/// between vendors, and translated code uses the host's XSAVE.
/// </summary>
internal sealed class XsaveLayout
{
    /// <summary>Opmask and the two parts of ZMM state in XCR0.</summary>
    public const ulong Avx512 = 0xE0;

    private const int Components = 64;
    private const uint LegacyAndHeader = 576;

    private readonly CpuidResult[] _components = new CpuidResult[Components];

    public XsaveLayout(Func<uint, uint, CpuidResult> host, ulong supported)
    {
        for (int i = 2; i < Components; i++)
        {
            if ((supported & (1ul << i)) != 0)
            {
                // ECX bit 0 is supervisor state, of which there is none; bit 1 aligns the component in the compacted format.
                CpuidResult component = host(0xD, (uint)i);
                _components[i] = component with { Ecx = component.Ecx & 2, Edx = 0 };
            }
        }
    }

    public CpuidResult Component(uint index) => index is >= 2 and < Components ? _components[index] : default;

    public uint StandardSize(ulong features)
    {
        uint size = LegacyAndHeader;
        for (int i = 2; i < Components; i++)
        {
            if ((features & (1ul << i)) != 0)
            {
                size = Math.Max(size, _components[i].Eax + _components[i].Ebx);
            }
        }

        return size;
    }

    public uint CompactedSize(ulong features)
    {
        uint size = LegacyAndHeader;
        for (int i = 2; i < Components; i++)
        {
            if ((features & (1ul << i)) != 0)
            {
                size = (_components[i].Ecx & 2) != 0 ? (size + 63) & ~63u : size;
                size += _components[i].Eax;
            }
        }

        return size;
    }
}
