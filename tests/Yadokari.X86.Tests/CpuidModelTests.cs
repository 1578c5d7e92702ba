using System.Text;
using Xunit;
using Yadokari.Core;
using Yadokari.X86.Cpuid;

namespace Yadokari.X86.Tests;

public sealed class CpuidModelTests
{
    private const ulong Avx512 = 0xE7;

    private static CpuidModel Model(string vendor = "AuthenticAMD", int cpus = 4, ulong xcr0 = Avx512, uint features = uint.MaxValue)
    {
        byte[] name = Encoding.ASCII.GetBytes(vendor);
        return new CpuidModel(Host, xcr0, new CpuidConfiguration(cpus, 3_000_000_000, 1_000_000_000));

        CpuidResult Host(uint leaf, uint subleaf) => (leaf, subleaf) switch
        {
            (0, _) => new CpuidResult(0x20, BitConverter.ToUInt32(name), BitConverter.ToUInt32(name, 8), BitConverter.ToUInt32(name, 4)),
            (0x80000000, _) => new CpuidResult(0x80000028, 0, 0, 0),
            (0x80000008, _) => new CpuidResult(0x3930, features, features, features),
            (0xD, 2) => new CpuidResult(256, 576, 0, 0),
            (0xD, 5) => new CpuidResult(64, 832, 0, 0),
            (0xD, 6) => new CpuidResult(512, 896, 2, 0),
            (0xD, 7) => new CpuidResult(1024, 1408, 2, 0),
            (4 or 0x8000001D, < 4) => new CpuidResult(0xFFFFC000 | 0x100 | ((subleaf == 3 ? 3u : 1) << 5) | 1, 1, 2, 3),
            (4 or 0x8000001D, _) => default,
            _ => new CpuidResult(features, features, features, features),
        };
    }

    private static CpuidResult Ask(CpuidModel model, uint leaf, uint subleaf = 0, uint apicId = 0, ulong xcr0 = 1, ulong cr4 = 0) =>
        model.Query(leaf, subleaf, new CpuidContext(apicId, xcr0, cr4));

    [Theory]
    [InlineData("AuthenticAMD")]
    [InlineData("GenuineIntel")]
    public void A_host_with_everything_shows_only_what_is_listed(string vendor)
    {
        CpuidModel model = Model(vendor);
        CpuidResult one = Ask(model, 1);
        Assert.Equal(0u, one.Ecx & ((1 << 3) | (1 << 5) | (1 << 15) | (1 << 27))); // MONITOR VMX PDCM OSXSAVE

        CpuidResult seven = Ask(model, 7);
        Assert.Equal(0u, seven.Ebx & ((1 << 2) | (1 << 4) | (1 << 11) | (1 << 14) | (1 << 25))); // SGX HLE RTM MPX PT
        Assert.Equal(0u, seven.Ecx & ((1 << 3) | (1 << 4) | (1 << 5) | (1 << 7) | (1 << 16) | (1 << 23) | (1 << 28) | (1 << 29) | (1u << 31)));
        Assert.Equal(0u, seven.Edx & ((1 << 5) | (1 << 11) | (1 << 18) | (1 << 20) | (1 << 22) | (1 << 24) | (1 << 25))); // UINTR .. PCONFIG IBT AMX
        Assert.Equal(0u, Ask(model, 0xD, 1).Eax & 8); // XSAVES
        Assert.Equal(0u, Ask(model, 0x80000001).Ecx & ((1 << 2) | (1 << 10) | (1 << 15) | (1 << 21) | (1 << 29))); // SVM IBS LWP TBM MONITORX
        Assert.Equal(0u, Ask(model, 0x80000008).Ebx & ((1 << 3) | (1 << 4) | (1 << 8) | (1 << 12) | (1 << 24))); // INVLPGB RDPRU MCOMMIT IBPB SSBD
        foreach (uint leaf in (uint[])[5, 9, 0xA, 0x12, 0x14, 0x19, 0x8000000A, 0x8000001B, 0x8000001C, 0x8000001F, 0x80000022, 0x21, 0x12345678, 0x90000000])
        {
            Assert.Equal(default, Ask(model, leaf));
        }
    }

    [Theory]
    [InlineData("AuthenticAMD")]
    [InlineData("GenuineIntel")]
    public void A_host_with_nothing_still_shows_what_is_emulated(string vendor)
    {
        CpuidModel model = Model(vendor, xcr0: 3, features: 0x20);
        foreach (string feature in (string[])["APIC", "X2APIC", "TSC_DEADLINE", "PCID", "NX", "PAGE1GB", "SMEP", "SMAP", "UMIP", "RDPID", "RDTSCP", "LM", "SYSCALL", "INVPCID", "FSGSBASE", "TSC_ADJUST", "HYPERVISOR", "PAT", "MTRR"])
        {
            Assert.True(model.Has(feature), feature);
        }

        Assert.False(model.Has("AVX") || model.Has("AVX512F") || model.Has("XSAVE") || model.Has("FMA") || model.Has("VAES"));
        Assert.Equal(0ul, model.Xcr0Supported);
    }

    [Fact]
    public void Vectors_need_the_host_systems_consent()
    {
        CpuidModel avx = Model(xcr0: 7);
        Assert.True(avx.Has("AVX2") && avx.Has("VAES"));
        Assert.False(avx.Has("AVX512F") || avx.Has("AVX512_FP16") || avx.Has("AVX512_BF16"));
        Assert.Equal(7ul, avx.Xcr0Supported);
        Assert.True(Model().Has("AVX512F"));
        Assert.Equal(Avx512, Model(xcr0: 0x602E7 | 7).Xcr0Supported);
    }

    [Fact]
    public void The_vendor_is_the_hosts()
    {
        Assert.Equal(CpuVendor.Amd, Model().Vendor);
        Assert.Equal(CpuVendor.Intel, Model("GenuineIntel").Vendor);
        Assert.True(Model().Has("AUTOIBRS") && !Model().Has("ARCH_CAPABILITIES"));
        Assert.True(Model("GenuineIntel").Has("ARCH_CAPABILITIES") && !Model("GenuineIntel").Has("AUTOIBRS"));
        Assert.NotEqual(0ul, Model().EferWritable & Efer.AUTOIBRS);
        Assert.Equal((0xDu, 0x80000021u), (Ask(Model(), 0).Eax, Ask(Model(), 0x80000000).Eax));
    }

    [Fact]
    public void The_hypervisor_signs_its_leaf()
    {
        CpuidResult leaf = Ask(Model(), 0x40000000);
        Assert.Equal("YadokariVMM ", Encoding.ASCII.GetString([.. BitConverter.GetBytes(leaf.Ebx), .. BitConverter.GetBytes(leaf.Ecx), .. BitConverter.GetBytes(leaf.Edx)]));
        Assert.Equal((3_000_000u, 1_000_000u), (Ask(Model(), 0x40000010).Eax, Ask(Model(), 0x40000010).Ebx));
    }

    [Fact]
    public void Kvms_interface_is_a_second_one()
    {
        CpuidResult leaf = Ask(Model(), 0x40000100);
        Assert.Equal("KVMKVMKVM\0\0\0", Encoding.ASCII.GetString([.. BitConverter.GetBytes(leaf.Ebx), .. BitConverter.GetBytes(leaf.Ecx), .. BitConverter.GetBytes(leaf.Edx)]));
        Assert.Equal((0x40000101u, (1u << 1) | (1u << 3) | (1u << 24)), (leaf.Eax, Ask(Model(), 0x40000101).Eax));
    }

    [Fact]
    public void Osxsave_follows_cr4()
    {
        Assert.NotEqual(0u, Ask(Model(), 1, cr4: Cr4.OSXSAVE).Ecx & (1 << 27));
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 1)]
    [InlineData(3, 2)]
    [InlineData(4, 2)]
    [InlineData(32, 5)]
    public void Topology_agrees_with_itself(int cpus, int bits)
    {
        CpuidModel amd = Model(cpus: cpus);
        uint last = (uint)cpus - 1;
        Assert.Equal(last, Ask(amd, 1, apicId: last).Ebx >> 24);
        Assert.Equal(1u << bits, (Ask(amd, 1).Ebx >> 16) & 0xFF);
        Assert.Equal(cpus > 1, (Ask(amd, 1).Edx & (1 << 28)) != 0);
        Assert.Equal(new CpuidResult(0, 1, 0x100, last), Ask(amd, 0xB, 0, last));
        Assert.Equal(new CpuidResult((uint)bits, (uint)cpus, 0x201, last), Ask(amd, 0xB, 1, last));
        Assert.Equal(0u, Ask(amd, 0xB, 2, last).Ebx);
        Assert.Equal(last, Ask(amd, 0x80000008).Ecx & 0xFF);
        Assert.Equal(last, Ask(amd, 0x8000001E, apicId: last).Eax);
        Assert.Equal(0u, (Ask(amd, 0x8000001D, 0).Eax >> 14) & 0xFFF);
        Assert.Equal((1u << bits) - 1, (Ask(amd, 0x8000001D, 3).Eax >> 14) & 0xFFF);

        CpuidModel intel = Model("GenuineIntel", cpus);
        Assert.Equal(Ask(intel, 0xB, 1), Ask(intel, 0x1F, 1));
        Assert.Equal((1u << bits) - 1, Ask(intel, 4, 0).Eax >> 26);
        Assert.Equal(0u, Ask(intel, 4, 4).Eax & 0x1F);
    }

    [Fact]
    public void Xsave_sizes_follow_the_enabled_state()
    {
        CpuidModel model = Model();
        Assert.Equal(new CpuidResult(0xE7, 576, 2432, 0), Ask(model, 0xD, 0, xcr0: 1));
        Assert.Equal(832u, Ask(model, 0xD, 0, xcr0: 7).Ebx);
        Assert.Equal(2432u, Ask(model, 0xD, 0, xcr0: 0xE7).Ebx);
        Assert.Equal(576u + 256 + 64 + 512 + 1024, Ask(model, 0xD, 1, xcr0: 0xE7).Ebx);
        Assert.Equal((64u, 832u), (Ask(model, 0xD, 5).Eax, Ask(model, 0xD, 5).Ebx));
        Assert.Equal(default, Ask(model, 0xD, 9));
        Assert.Equal(2432, model.XsaveSize);
    }

    [Fact]
    public void Intel_says_its_clock_only_where_it_is_exact()
    {
        CpuidModel model = Model("GenuineIntel");
        CpuidResult clock = Ask(model, 0x15);
        Assert.Equal(3_000_000_000ul, (ulong)clock.Ecx * clock.Ebx / clock.Eax);
        Assert.Equal(3000u, Ask(model, 0x16).Eax);
        Assert.Equal(default, Ask(Model(), 0x15));
    }

    [Fact]
    public void This_host_makes_a_model()
    {
        CpuidModel model = CpuidModel.FromHost(new CpuidConfiguration(2, 2_500_000_000, 1_000_000_000));
        Assert.Equal(CpuidModel.QueryHost(0, 0).Ebx, Ask(model, 0).Ebx);
        Assert.Equal(CpuidModel.QueryHost(1, 0).Eax, Ask(model, 1).Eax);
        Assert.InRange(model.PhysicalAddressBits, 36, 52);
        Assert.True(model.Has("SSE2"));
        Assert.Equal(CpuidModel.QueryHost(0xD, 2).Ebx, Ask(model, 0xD, 2).Ebx);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(33)]
    public void Too_many_or_no_cpus_are_refused(int cpus) => Assert.Throws<UserErrorException>(() => Model(cpus: cpus));
}
