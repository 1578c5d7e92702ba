using System.Runtime.CompilerServices;
using Yadokari.X86.State;

namespace Yadokari.Translation;

internal sealed unsafe partial class Vcpu
{
    /// <summary>Result of an instruction or a block.</summary>
    internal enum Outcome
    {
        /// <summary>Completed; the next instruction follows it.</summary>
        Next,

        /// <summary>Completed; RIP was set.</summary>
        Jumped,

        /// <summary>State is unchanged, and <see cref="Raise"/> raised an exception that must be delivered with RIP at this instruction.</summary>
        Fault,

        /// <summary>HLT completed; the vCPU halts with RIP after it.</summary>
        Halt,

        /// <summary>Partly completed (some iterations of a REP): interrupts are checked, then the same instruction continues.</summary>
        Again,

        /// <summary>Triple fault.</summary>
        Shutdown,

        /// <summary>The instruction has not run and must be tried again.</summary>
        Retry,
    }

    internal const ulong ArithmeticFlags = 0x8D5;

    /// <summary>
    /// Segment registers. <see cref="SetSegment"/> loads them. Translated code changes the bases of FS and GS, and SYSCALL and SYSRET change CS and
    /// SS, in the <see cref="VcpuState"/> only; each return to C# copies these here.
    /// </summary>
    internal SegmentUnit Segments { get; }

    /// <summary>x87 state that is not in <see cref="XsaveArea"/>.</summary>
    internal X87Unit X87 { get; }

    internal ref ulong Cr0 => ref State->Cr0;

    internal ref ulong Cr2 => ref State->Cr2;

    internal ref ulong Cr3 => ref State->Cr3;

    internal ref ulong Cr4 => ref State->Cr4;

    internal ulong Xcr0 = 1;

    internal ref ulong Efer => ref State->Efer;

    internal readonly ulong[] Dr = new ulong[8];

    internal ref ulong Star => ref State->Star;

    internal ref ulong Lstar => ref State->Lstar;

    internal ulong Cstar;

    internal ref ulong Fmask => ref State->Fmask;

    internal ref ulong KernelGsBase => ref State->KernelGsBase;

    internal ulong SysenterCs;
    internal ulong SysenterEsp;
    internal ulong SysenterEip;

    internal ref ulong TscAux => ref State->TscAux;

    internal ulong TscAdjust;

    /// <summary>The state that translated code accesses, at the gs base.</summary>
    internal VcpuState* State => (VcpuState*)_window;

    /// <summary>The guest's XSAVE area (standard format). Valid in C#: every exit saves the live state. On the vCPU's thread while it runs.</summary>
    internal byte* XsaveArea
    {
        get
        {
            FetchExtended();
            return _window + StateLayout.Xsave;
        }
    }

    /// <summary>Copies the x87 and vector registers to the vCPU if a process of direct execution holds them.</summary>
    internal void FetchExtended()
    {
        if (State->ExtendedAway != 0)
        {
            Direct!.FetchExtended();
        }
    }

    internal ref ulong Rax => ref State->Gpr[0];

    internal ref ulong Rcx => ref State->Gpr[1];

    internal ref ulong Rdx => ref State->Gpr[2];

    internal ref ulong Rbx => ref State->Gpr[3];

    internal ref ulong Rsp => ref State->Gpr[4];

    internal ref ulong Rbp => ref State->Gpr[5];

    internal ref ulong Rsi => ref State->Gpr[6];

    internal ref ulong Rdi => ref State->Gpr[7];

    internal ref ulong Rip => ref State->Rip;

    /// <summary>A general register by its number, 0 to 15.</summary>
    internal ref ulong Gpr(int index) => ref State->Gpr[index];

    /// <summary>All of RFLAGS.</summary>
    internal ulong Rflags
    {
        get
        {
            ulong ax = State->FlagsAx;
            return (State->SystemFlags & ~ArithmeticFlags) | ((ax >> 8) & 0xD5) | ((ax & 1) << 11) | 2;
        }

        set
        {
            State->FlagsAx = ((value & 0xD5) << 8) | 0x200 | ((value >> 11) & 1);
            State->SystemFlags = (value & ~ArithmeticFlags) | 2;
            ModeChanged();
        }
    }

    /// <summary>Current privilege level: SS.DPL (3 in virtual-8086 mode, 0 in real mode).</summary>
    internal int Cpl { get; set; }

    internal bool LongMode => State->LongMode;

    /// <summary>64-bit mode: long mode with CS.L.</summary>
    internal bool Code64 => LongMode && Segments.IsLong;

    internal bool ProtectedMode => State->ProtectedMode;

    internal bool Virtual8086 => State->Virtual8086;

    /// <summary>Sets a segment register with its hidden part, and updates the mode of blocks.</summary>
    internal void SetSegment(int index, in SegmentState value)
    {
        Segments.Set(index, value);
        ModeChanged();
    }

    /// <summary>Must be called after any change of CR0, CR4, EFER, XCR0, CPL, segments or system flags: updates the mode of blocks.</summary>
    internal void ModeChanged() => Mode.Changed();

    /// <summary>Sets RIP from a linear address.</summary>
    internal void SetLinearRip(ulong linear)
    {
        if (Code64)
        {
            State->Rip = linear;
            return;
        }

        // Jumps of 16-bit code wrap around at 64 KiB.
        uint rip = (uint)(linear - Segments[1].Base);
        State->Rip = !Segments.IsCode32 && Segments.CodeLimit <= 0xFFFF ? (ushort)rip : rip;
    }
}
