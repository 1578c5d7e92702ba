namespace Yadokari.X86.State;

/// <summary>General registers by name.</summary>
public sealed partial class X86State
{
    /// <summary>RAX.</summary>
    public ulong Rax
    {
        get => Gpr[0];
        set => Gpr[0] = value;
    }

    /// <summary>RCX.</summary>
    public ulong Rcx
    {
        get => Gpr[1];
        set => Gpr[1] = value;
    }

    /// <summary>RDX.</summary>
    public ulong Rdx
    {
        get => Gpr[2];
        set => Gpr[2] = value;
    }

    /// <summary>RBX.</summary>
    public ulong Rbx
    {
        get => Gpr[3];
        set => Gpr[3] = value;
    }

    /// <summary>RSP.</summary>
    public ulong Rsp
    {
        get => Gpr[4];
        set => Gpr[4] = value;
    }

    /// <summary>RBP.</summary>
    public ulong Rbp
    {
        get => Gpr[5];
        set => Gpr[5] = value;
    }

    /// <summary>RSI.</summary>
    public ulong Rsi
    {
        get => Gpr[6];
        set => Gpr[6] = value;
    }

    /// <summary>RDI.</summary>
    public ulong Rdi
    {
        get => Gpr[7];
        set => Gpr[7] = value;
    }

    /// <summary>R8.</summary>
    public ulong R8
    {
        get => Gpr[8];
        set => Gpr[8] = value;
    }

    /// <summary>R9.</summary>
    public ulong R9
    {
        get => Gpr[9];
        set => Gpr[9] = value;
    }

    /// <summary>R10.</summary>
    public ulong R10
    {
        get => Gpr[10];
        set => Gpr[10] = value;
    }

    /// <summary>R11.</summary>
    public ulong R11
    {
        get => Gpr[11];
        set => Gpr[11] = value;
    }

    /// <summary>R12.</summary>
    public ulong R12
    {
        get => Gpr[12];
        set => Gpr[12] = value;
    }

    /// <summary>R13.</summary>
    public ulong R13
    {
        get => Gpr[13];
        set => Gpr[13] = value;
    }

    /// <summary>R14.</summary>
    public ulong R14
    {
        get => Gpr[14];
        set => Gpr[14] = value;
    }

    /// <summary>R15.</summary>
    public ulong R15
    {
        get => Gpr[15];
        set => Gpr[15] = value;
    }
}
