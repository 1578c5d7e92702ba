using Iced.Intel;
using Op = Iced.Intel.Code;

namespace Yadokari.Translation.Code;

/// <summary>The sensitive instructions whose common case <see cref="Translator"/> expands in 64-bit code instead of emulating it.</summary>
internal static class InlineInstructions
{
    private static readonly bool[] s_codes = Build();

    /// <summary>Whether the common case of an instruction is expanded in 64-bit code.</summary>
    public static bool Contains(Op code) => s_codes[(int)code];

    private static bool[] Build()
    {
        bool[] codes = new bool[(int)Enum.GetValues<Op>().Max() + 1];
        foreach (Op code in (ReadOnlySpan<Op>)
        [
            Op.Movsb_m8_m8, Op.Movsw_m16_m16, Op.Movsd_m32_m32, Op.Movsq_m64_m64,
            Op.Stosb_m8_AL, Op.Stosw_m16_AX, Op.Stosd_m32_EAX, Op.Stosq_m64_RAX,
            Op.Cli, Op.Sti, Op.Cld, Op.Pushfq, Op.Popfq, Op.Clac, Op.Stac,
            Op.Swapgs, Op.Rdtsc, Op.Rdtscp, Op.Syscall, Op.Sysretq,
            Op.Mov_rm16_Sreg, Op.Mov_r32m16_Sreg, Op.Mov_r64m16_Sreg, Op.Mov_r64_cr,
            Op.Rdfsbase_r32, Op.Rdfsbase_r64, Op.Rdgsbase_r32, Op.Rdgsbase_r64,
            Op.Wrfsbase_r32, Op.Wrfsbase_r64, Op.Wrgsbase_r32, Op.Wrgsbase_r64,
            Op.Jrcxz_rel8_64, Op.Jecxz_rel8_64, Op.Loop_rel8_64_RCX,
        ])
        {
            codes[(int)code] = true;
        }

        return codes;
    }
}
