using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Yadokari.Core;

namespace Yadokari.X86.Cpuid;

/// <summary>
/// The results of a guest's CPUID: the host's features without those that translation does not support, and those that the monitor emulates.
/// Immutable; any thread.
/// </summary>
public sealed class CpuidModel
{
    /// <summary>The signature in leaf 0x40000000.</summary>
    public const string HypervisorSignature = "YadokariVMM ";

    private const uint HypervisorLeaf = 0x40000000;
    private const uint TimingLeaf = 0x40000010;

    // A second hypervisor interface: Linux searches for it every 0x100 leaves. It offers two of KVM's features: the clock, and ports without delay.
    private const string KvmSignature = "KVMKVMKVM\0\0\0";
    private const uint KvmLeaf = 0x40000100;
    private const uint KvmNoIoDelay = 1 << 1;
    private const uint KvmClock = 1 << 3;
    private const uint KvmClocksRunAlike = 1 << 24;

    private const uint MaxAmdBasicLeaf = 0xD;
    private const uint MaxIntelBasicLeaf = 0x1F;
    private const uint MaxAmdExtendedLeaf = 0x80000021;
    private const uint MaxIntelExtendedLeaf = 0x80000008;

    private readonly Dictionary<ulong, CpuidResult> _answers = [];
    private readonly Func<uint, uint, CpuidResult> _host;
    private readonly CpuidConfiguration _configuration;
    private readonly XsaveLayout _xsave;
    private readonly int _apicIdBits;

    /// <summary>Builds a model from a host's CPUID.</summary>
    /// <param name="host">Returns the host's result for a leaf and subleaf; called only here.</param>
    /// <param name="hostXcr0">Extended state that the host's operating system has enabled.</param>
    /// <param name="configuration">vCPUs and clocks.</param>
    /// <exception cref="UserErrorException">The number of vCPUs is not 1 to 32.</exception>
    public CpuidModel(Func<uint, uint, CpuidResult> host, ulong hostXcr0, CpuidConfiguration configuration)
    {
        if (configuration.Cpus is < 1 or > 32)
        {
            throw new UserErrorException($"A machine can't have {configuration.Cpus} vCPUs: give 1 to 32");
        }

        _host = host;
        _configuration = configuration;
        _apicIdBits = BitOperations.Log2((uint)configuration.Cpus * 2 - 1);
        CpuidResult vendor = host(0, 0);
        Vendor = vendor.Ebx is 0x68747541 or 0x6F677948 ? CpuVendor.Amd : CpuVendor.Intel;
        MaxBasicLeaf = Math.Min(vendor.Eax, Vendor == CpuVendor.Amd ? MaxAmdBasicLeaf : MaxIntelBasicLeaf);
        MaxExtendedLeaf = Vendor == CpuVendor.Amd ? MaxAmdExtendedLeaf : MaxIntelExtendedLeaf;
        bool hasXsave = (host(1, 0).Ecx & (1 << 26)) != 0 && MaxBasicLeaf >= 0xD;
        Xcr0Supported = !hasXsave ? 0 : (hostXcr0 & XsaveLayout.Avx512) == XsaveLayout.Avx512 ? hostXcr0 & (XsaveLayout.Avx512 | 7) : hostXcr0 & 7;
        _xsave = new XsaveLayout(host, Xcr0Supported);
        PhysicalAddressBits = Math.Clamp((int)(host(0x80000008, 0).Eax & 0xFF), 36, 52);
        AddFeatures();
        AddIdentity(vendor);
        AddClocks();
        AddCaches();
    }

    /// <summary>The processor's vendor: that of the host.</summary>
    public CpuVendor Vendor { get; }

    /// <summary>The highest basic leaf, which leaf 0 returns.</summary>
    public uint MaxBasicLeaf { get; }

    /// <summary>The highest extended leaf, which leaf 0x80000000 returns.</summary>
    public uint MaxExtendedLeaf { get; }

    /// <summary>MAXPHYADDR, for <see cref="Paging.PagingContext"/>.</summary>
    public int PhysicalAddressBits { get; }

    /// <summary>Bits that XSETBV may set in XCR0.</summary>
    public ulong Xcr0Supported { get; }

    /// <summary>Bytes of an XSAVE area in the standard format with all supported state.</summary>
    public int XsaveSize => (int)_xsave.StandardSize(Xcr0Supported);

    /// <summary>Bits that may be set in CR4; others are #GP.</summary>
    public ulong Cr4Writable =>
        Cr4.VME | Cr4.PVI | Cr4.TSD | Cr4.DE | Cr4.PSE | Cr4.PAE | Cr4.MCE | Cr4.PGE | Cr4.PCE | Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.UMIP | Cr4.FSGSBASE
        | Cr4.PCIDE | Cr4.SMEP | Cr4.SMAP | (Xcr0Supported != 0 ? Cr4.OSXSAVE : 0);

    /// <summary>Bits that may be set in IA32_EFER; others are #GP. LMA is ignored on writes.</summary>
    public ulong EferWritable => Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | (Vendor == CpuVendor.Amd ? Efer.AUTOIBRS : 0);

    /// <summary>vCPUs and clocks.</summary>
    public CpuidConfiguration Configuration => _configuration;

    /// <summary>Whether <see cref="FromHost"/> created it: the host's processor then has all features that the model shows.</summary>
    public bool IsOfHost { get; private init; }

    /// <summary>The model of this host.</summary>
    public static CpuidModel FromHost(CpuidConfiguration configuration)
    {
        // The runtime reports those instruction sets as supported that the host's operating system has enabled in XCR0.
        ulong xcr0 = !Avx.IsSupported ? 3ul : !Avx512F.IsSupported ? 7ul : 7 | XsaveLayout.Avx512;
        return new CpuidModel(QueryHost, xcr0, configuration) { IsOfHost = true };
    }

    /// <summary>Queries the host's CPUID.</summary>
    public static CpuidResult QueryHost(uint leaf, uint subleaf)
    {
        (int eax, int ebx, int ecx, int edx) = X86Base.CpuId((int)leaf, (int)subleaf);
        return new CpuidResult((uint)eax, (uint)ebx, (uint)ecx, (uint)edx);
    }

    /// <summary>The guest's result for a leaf and subleaf. Allocates nothing. Leaves that do not exist return zeros.</summary>
    public CpuidResult Query(uint leaf, uint subleaf, in CpuidContext context)
    {
        switch (leaf)
        {
            case 1:
                CpuidResult one = Find(1, 0);
                return one with
                {
                    Ebx = one.Ebx | (context.ApicId << 24),
                    Ecx = one.Ecx | ((context.Cr4 & Cr4.OSXSAVE) != 0 ? 1u << 27 : 0),
                    Edx = context.ApicEnabled ? one.Edx : one.Edx & ~(1u << 9),
                };
            case 0xB or 0x1F:
                return leaf > MaxBasicLeaf ? default : Topology(subleaf, context.ApicId);
            case 0xD:
                return leaf > MaxBasicLeaf ? default : ExtendedState(subleaf, context.Xcr0);
            case 0x8000001E when Vendor == CpuVendor.Amd:
                return new CpuidResult(context.ApicId, context.ApicId & 0xFF, 0, 0);
            case 4 or 7 or 0x8000001D:
                return Find(leaf, subleaf);
            default:
                return Find(leaf, 0);
        }
    }

    /// <summary>Whether the guest sees a feature of <see cref="CpuidFeatures"/>; false also for unknown names.</summary>
    public bool Has(string feature)
    {
        foreach (CpuidFeature candidate in CpuidFeatures.All)
        {
            if (candidate.Name == feature)
            {
                return Shows(candidate);
            }
        }

        return false;
    }

    /// <summary>The features of <see cref="CpuidFeatures"/> that this model shows and another does not.</summary>
    public IEnumerable<string> FeaturesBeyond(CpuidModel other) => CpuidFeatures.All.Where(f => Shows(f) && !other.Shows(f)).Select(f => f.Name);

    private bool Shows(CpuidFeature feature) => (Find(feature.Leaf, feature.Subleaf)[feature.Register] & (1u << feature.Bit)) != 0;

    private static ulong Key(uint leaf, uint subleaf) => ((ulong)subleaf << 32) | leaf;

    private CpuidResult Find(uint leaf, uint subleaf) => _answers.TryGetValue(Key(leaf, subleaf), out CpuidResult answer) ? answer : default;

    private CpuidResult HostOf(uint leaf, uint subleaf = 0)
    {
        uint range = leaf & 0x80000000;
        return leaf <= _host(range, 0).Eax ? _host(leaf, subleaf) : default;
    }

    private void AddFeatures()
    {
        foreach (CpuidFeature feature in CpuidFeatures.All)
        {
            uint max = (feature.Leaf & 0x80000000) != 0 ? MaxExtendedLeaf : MaxBasicLeaf;
            bool host = (HostOf(feature.Leaf, feature.Subleaf)[feature.Register] & (1u << feature.Bit)) != 0
                && (feature.Leaf != 7 || feature.Subleaf <= HostOf(7).Eax)
                && (feature.Xcr0 & ~Xcr0Supported) == 0;
            bool shown = feature.Leaf <= max && feature.Policy switch
            {
                CpuidPolicy.Host => host,
                CpuidPolicy.Always => true,
                CpuidPolicy.Amd => Vendor == CpuVendor.Amd,
                _ => Vendor == CpuVendor.Intel,
            };
            if (shown && !(feature.Name == "XSAVE" && Xcr0Supported == 0))
            {
                _answers[Key(feature.Leaf, feature.Subleaf)] = Find(feature.Leaf, feature.Subleaf).With(feature.Register, feature.Bit);
            }
        }

        _answers[Key(7, 0)] = Find(7, 0) with { Eax = Math.Min(HostOf(7).Eax, 1) };
    }

    private void AddIdentity(CpuidResult vendor)
    {
        int cpus = _configuration.Cpus;
        bool amd = Vendor == CpuVendor.Amd;
        _answers[Key(0, 0)] = vendor with { Eax = MaxBasicLeaf };
        CpuidResult hostOne = HostOf(1);
        CpuidResult one = Find(1, 0);
        uint flushSize = hostOne.Ebx & 0xFF00;
        _answers[Key(1, 0)] = one with
        {
            Eax = hostOne.Eax,
            Ebx = flushSize | (1u << (_apicIdBits + 16)),
            Edx = one.Edx | (cpus > 1 ? 1u << 28 : 0),
        };

        CpuidResult extended = Find(0x80000001, 0);
        _answers[Key(0x80000000, 0)] = amd ? vendor with { Eax = MaxExtendedLeaf } : new CpuidResult(MaxExtendedLeaf, 0, 0, 0);
        _answers[Key(0x80000001, 0)] = !amd ? extended : new CpuidResult(
            hostOne.Eax,
            HostOf(0x80000001).Ebx,
            extended.Ecx | (cpus > 1 ? 2u : 0),
            extended.Edx | (one.Edx & 0x0183_F3FF));
        for (uint leaf = 0x80000002; leaf <= 0x80000006; leaf++)
        {
            _answers[Key(leaf, 0)] = HostOf(leaf);
        }

        _answers[Key(0x80000008, 0)] = Find(0x80000008, 0) with
        {
            Eax = (uint)PhysicalAddressBits | (48 << 8),
            Ecx = amd ? (uint)(cpus - 1) | ((uint)_apicIdBits << 12) : 0,
        };
        if (amd)
        {
            _answers[Key(0x80000019, 0)] = HostOf(0x80000019);
            _answers[Key(0x8000001A, 0)] = HostOf(0x8000001A) with { Ebx = 0, Ecx = 0, Edx = 0 };
        }
    }

    private void AddClocks()
    {
        _answers[Key(HypervisorLeaf, 0)] = Signed(TimingLeaf, HypervisorSignature);
        _answers[Key(KvmLeaf, 0)] = Signed(KvmLeaf + 1, KvmSignature);
        _answers[Key(KvmLeaf + 1, 0)] = new CpuidResult(KvmNoIoDelay | KvmClock | KvmClocksRunAlike, 0, 0, 0);
        ulong tsc = (ulong)_configuration.TscHz;
        ulong timer = (ulong)_configuration.ApicTimerHz;
        _answers[Key(TimingLeaf, 0)] = new CpuidResult((uint)(tsc / 1000), (uint)(timer / 1000), 0, 0);
        if (Vendor != CpuVendor.Intel || MaxBasicLeaf < 0x16)
        {
            return;
        }

        // Linux uses the crystal frequency for the local APIC timer too, and multiplies kHz by the numerator in 32 bits. Without an exact ratio that
        // fits, leaf 0x15 stays empty, and Linux calibrates the timer.
        ulong divisor = (ulong)BigInteger.GreatestCommonDivisor(tsc, timer);
        if (divisor != 0 && tsc / divisor * (timer / 1000) <= uint.MaxValue)
        {
            _answers[Key(0x15, 0)] = new CpuidResult((uint)(timer / divisor), (uint)(tsc / divisor), (uint)timer, 0);
        }

        uint megahertz = (uint)(tsc / 1_000_000);
        _answers[Key(0x16, 0)] = new CpuidResult(megahertz, megahertz, 100, 0);
    }

    private static CpuidResult Signed(uint last, string signature)
    {
        ReadOnlySpan<byte> bytes = Encoding.ASCII.GetBytes(signature);
        return new CpuidResult(last, BinaryPrimitives.ReadUInt32LittleEndian(bytes), BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]), BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]));
    }

    private void AddCaches()
    {
        uint leaf = Vendor == CpuVendor.Amd ? 0x8000001D : 4u;
        if (Vendor == CpuVendor.Intel)
        {
            _answers[Key(2, 0)] = HostOf(2);
        }

        uint sharers = (1u << _apicIdBits) - 1;
        for (uint index = 0; index < 16; index++)
        {
            CpuidResult cache = HostOf(leaf, index);
            uint type = cache.Eax & 0x1F;
            if (type == 0)
            {
                break;
            }

            // One thread a core: only a third-level cache is shared.
            uint level = (cache.Eax >> 5) & 7;
            uint eax = (cache.Eax & 0x3FFF) | (level >= 3 ? sharers << 14 : 0);
            if (Vendor == CpuVendor.Intel)
            {
                eax |= sharers << 26;
            }

            _answers[Key(leaf, index)] = cache with { Eax = eax };
        }
    }

    private CpuidResult Topology(uint subleaf, uint apicId) => subleaf switch
    {
        0 => new CpuidResult(0, 1, 1 << 8, apicId),
        1 => new CpuidResult((uint)_apicIdBits, (uint)_configuration.Cpus, 1 | (2 << 8), apicId),
        _ => new CpuidResult(0, 0, subleaf & 0xFF, apicId),
    };

    private CpuidResult ExtendedState(uint subleaf, ulong xcr0) => subleaf switch
    {
        0 => new CpuidResult((uint)Xcr0Supported, _xsave.StandardSize(xcr0), _xsave.StandardSize(Xcr0Supported), 0),
        1 => Find(0xD, 1) with { Ebx = _xsave.CompactedSize(xcr0) },
        _ => _xsave.Component(subleaf),
    };
}
