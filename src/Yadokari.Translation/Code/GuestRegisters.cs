using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>Allocation of guest registers to host registers in translated code.</summary>
internal static class GuestRegisters
{
    /// <summary>The first scratch register: addresses of memory operands.</summary>
    public const Host Address = Host.Rbp;

    /// <summary>The second scratch register.</summary>
    public const Host Scratch = Host.R15;

    private static readonly Host[] s_hosts =
    [
        Host.Rax, Host.Rcx, Host.Rdx, Host.Rbx, Host.R10, Host.R11, Host.Rsi, Host.Rdi,
        Host.R8, Host.R9, Host.None, Host.None, Host.R12, Host.R13, Host.R14, Host.None,
    ];

    /// <summary>The host register of a guest register; None if it is in its slot of the vCPU state.</summary>
    public static Host HostOf(int guest) => s_hosts[guest];

    /// <summary>Number of the general register that contains an operand register of any width, or -1.</summary>
    public static int Number(Register register)
        => register.IsGPR() && !IsHighByte(register) ? register.GetFullRegister() - Register.RAX : -1;

    public static bool IsHighByte(Register register) => register is Register.AH or Register.CH or Register.DH or Register.BH;

    /// <summary>A host register in the width of another register.</summary>
    public static Register InWidthOf(Register width, Host host)
    {
        int n = (int)host;
        return width.IsGPR64() ? Register.RAX + n
            : width.IsGPR32() ? Register.EAX + n
            : width.IsGPR16() ? Register.AX + n
            : n < 4 ? Register.AL + n : Register.SPL + (n - 4);
    }

    /// <summary>Whether a guest register has no host register of its own.</summary>
    public static bool LivesInMemory(Register register)
    {
        int guest = Number(register);
        return guest >= 0 && HostOf(guest) == Host.None;
    }
}
