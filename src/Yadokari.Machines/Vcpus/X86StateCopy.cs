using Yadokari.Core.State;

namespace Yadokari.Machines.Vcpus;

/// <summary>Copies processor state.</summary>
internal static class X86StateCopy
{
    /// <summary>Makes <paramref name="to"/> equal to <paramref name="from"/>, with nothing shared.</summary>
    public static void CopyTo(this X86State from, X86State to)
    {
        from.Gpr.CopyTo(to.Gpr, 0);
        from.Segments.CopyTo(to.Segments, 0);
        from.Dr.CopyTo(to.Dr, 0);
        to.Rip = from.Rip;
        to.Rflags = from.Rflags;
        to.Tr = from.Tr;
        to.Ldtr = from.Ldtr;
        to.Gdtr = from.Gdtr;
        to.Idtr = from.Idtr;
        to.Cr0 = from.Cr0;
        to.Cr2 = from.Cr2;
        to.Cr3 = from.Cr3;
        to.Cr4 = from.Cr4;
        to.Xcr0 = from.Xcr0;
        to.Efer = from.Efer;
        (to.NmiPending, to.NmiBlocked) = (from.NmiPending, from.NmiBlocked);
        to.Xsave = [.. from.Xsave];
        to.Msrs.Clear();
        foreach ((uint index, ulong value) in from.Msrs)
        {
            to.Msrs[index] = value;
        }
    }
}
