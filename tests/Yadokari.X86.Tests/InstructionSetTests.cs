using Iced.Intel;
using Xunit;
using Yadokari.X86.Cpuid;

namespace Yadokari.X86.Tests;

public sealed class InstructionSetTests
{
    private static InstructionSet Set(uint features, ulong xcr0)
    {
        return new InstructionSet(new CpuidModel(Host, xcr0, new CpuidConfiguration(1, 1, 1)));

        CpuidResult Host(uint leaf, uint subleaf) => leaf switch
        {
            0 => new CpuidResult(0x20, 0x68747541, 0, 0),
            0x80000000 => new CpuidResult(0x80000028, 0, 0, 0),
            _ => new CpuidResult(features, features, features, features),
        };
    }

    [Fact]
    public void A_host_with_everything_has_what_is_shown()
    {
        InstructionSet set = Set(uint.MaxValue, 0xE7);
        foreach (Code code in (Code[])[Code.Add_rm64_r64, Code.EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er, Code.Aesenc_xmm_xmmm128, Code.Pcmpistri_xmm_xmmm128_imm8,
            Code.Cmpxchg16b_m128, Code.VEX_Andn_r64_r64_rm64, Code.Endbr64, Code.Fadd_m64fp, Code.Lzcnt_r64_rm64, Code.VEX_Vaesenc_ymm_ymm_ymmm256, Code.Nop_rm32])
        {
            Assert.True(set.Has(code), code.ToString());
        }
    }

    [Fact]
    public void A_host_with_little_has_little()
    {
        InstructionSet set = Set(0, 3);
        Assert.True(set.Has(Code.Add_rm64_r64) && set.Has(Code.Fld1) && set.Has(Code.Syscall) && set.Has(Code.Prefetchw_m8));
        Assert.False(set.Has(Code.EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er) || set.Has(Code.VEX_Vaddps_ymm_ymm_ymmm256)
            || set.Has(Code.Aesenc_xmm_xmmm128) || set.Has(Code.VEX_Vsha512rnds2_ymm_ymm_xmm) || set.Has(Code.Popcnt_r64_rm64));
    }
}
