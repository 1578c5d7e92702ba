using Yadokari.X86.Engines;
using Yadokari.X86.Msrs;
using Yadokari.X86.Paging;
using Yadokari.X86.State;

namespace Yadokari.Translation;

/// <summary>Saving and loading of the architectural state, and memory access for a debugger.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <inheritdoc/>
    public void Save(X86State state)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = Gpr(i);
        }

        state.Rip = Rip;
        state.Rflags = Rflags;
        Segments.Save(state);
        (state.Cr0, state.Cr2, state.Cr3, state.Cr4) = (Cr0, Cr2, Cr3, Cr4);
        (state.Xcr0, state.Efer) = (Xcr0, Efer);
        Dr.CopyTo(state.Dr, 0);
        Events.Save(state);
        state.A20 = _a20Wanted;
        state.Activity = Activity;
        state.Msrs.Clear();
        MsrFile.Save(state.Msrs);
        state.Msrs[MsrIndex.TscAdjust] = TscAdjust;
        state.Msrs[MsrIndex.Star] = Star;
        state.Msrs[MsrIndex.Lstar] = Lstar;
        state.Msrs[MsrIndex.Cstar] = Cstar;
        state.Msrs[MsrIndex.Sfmask] = Fmask;
        state.Msrs[MsrIndex.KernelGsBase] = KernelGsBase;
        state.Msrs[MsrIndex.SysenterCs] = SysenterCs;
        state.Msrs[MsrIndex.SysenterEsp] = SysenterEsp;
        state.Msrs[MsrIndex.SysenterEip] = SysenterEip;
        state.Msrs[MsrIndex.TscAux] = TscAux;
        if (state.Xsave.Length != HostXsave.AreaBytes)
        {
            state.Xsave = new byte[HostXsave.AreaBytes];
        }

        new ReadOnlySpan<byte>(XsaveArea, HostXsave.AreaBytes).CopyTo(state.Xsave);
        X87.Store(state.Xsave);
        (state.X87CodeSelector, state.X87DataSelector) = (X87.Pointers.CodeSelector, X87.Pointers.DataSelector);
    }

    /// <inheritdoc/>
    public void Load(X86State state)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Check(state);
        for (int i = 0; i < 16; i++)
        {
            Gpr(i) = state.Gpr[i];
        }

        Rip = state.Rip;
        _debugger.Loaded();
        (Cr0, Cr2, Cr3, Cr4) = (state.Cr0, state.Cr2, state.Cr3, state.Cr4);
        (Xcr0, Efer) = (state.Xcr0, state.Efer);
        Rflags = state.Rflags;
        Segments.Load(state);
        state.Dr.CopyTo(Dr, 0);
        Star = state.Msrs.GetValueOrDefault(MsrIndex.Star);
        Lstar = state.Msrs.GetValueOrDefault(MsrIndex.Lstar);
        Cstar = state.Msrs.GetValueOrDefault(MsrIndex.Cstar);
        Fmask = state.Msrs.GetValueOrDefault(MsrIndex.Sfmask);
        KernelGsBase = state.Msrs.GetValueOrDefault(MsrIndex.KernelGsBase);
        SysenterCs = state.Msrs.GetValueOrDefault(MsrIndex.SysenterCs);
        SysenterEsp = state.Msrs.GetValueOrDefault(MsrIndex.SysenterEsp);
        SysenterEip = state.Msrs.GetValueOrDefault(MsrIndex.SysenterEip);
        TscAux = state.Msrs.GetValueOrDefault(MsrIndex.TscAux);
        Cpl = Virtual8086 ? 3 : (Cr0 & 1) == 0 ? 0 : (Segments[2].Attributes >> 5) & 3;
        ResetXsave();
        if (state.Xsave.Length >= 576)
        {
            state.Xsave.AsSpan(0, Math.Min(state.Xsave.Length, HostXsave.AreaBytes)).CopyTo(new Span<byte>(XsaveArea, HostXsave.AreaBytes));
            ulong* header = (ulong*)(XsaveArea + 512);
            header[0] &= HostXsave.Mask;
            header[1] = 0;
            X87.Load(state.Xsave);
            (X87.Pointers.CodeSelector, X87.Pointers.DataSelector) = (header[0] & 1) != 0 ? (state.X87CodeSelector, state.X87DataSelector) : default;
        }

        MsrFile.Load(state.Msrs);
        ulong adjust = state.Msrs.GetValueOrDefault(MsrIndex.TscAdjust);
        MoveTsc(adjust - TscAdjust);
        TscAdjust = adjust;
        Events.Load(state);
        Activity = state.Activity;
        Mmu.A20 = _a20Wanted = state.A20;
        _shadowed = false;
        _steps = 0;
        Mmu.FlushAll();
        ModeChanged();
    }

    // Refuses values that the vCPU can't have. Control registers and segments are not checked: invalid combinations fault when they are used.
    private void Check(X86State state)
    {
        foreach ((uint index, ulong value) in state.Msrs)
        {
            if (!IsOwnMsr(index) && !MsrFile.CanLoad(index, value))
            {
                throw new ArgumentException($"A vCPU of this model has no {MsrTable.NameOf(index)} to load, or none of {value:X}: take it out of the state.", nameof(state));
            }
        }

        PendingEvents.Check(state);
        if (!Enum.IsDefined(state.Activity))
        {
            throw new ArgumentException($"There is no activity state {state.Activity}.", nameof(state));
        }
    }

    // MSRs that Save and Load handle one by one.
    private static bool IsOwnMsr(uint index) => index
        is MsrIndex.TscAdjust or MsrIndex.SysenterCs or MsrIndex.SysenterEsp or MsrIndex.SysenterEip
        or MsrIndex.Star or MsrIndex.Lstar or MsrIndex.Cstar or MsrIndex.Sfmask
        or MsrIndex.KernelGsBase or MsrIndex.TscAux;

    /// <inheritdoc/>
    bool IX86Vcpu.ReadLinear(ulong address, Span<byte> data) => DebugCopy(address, data, write: false);

    /// <inheritdoc/>
    bool IX86Vcpu.WriteLinear(ulong address, ReadOnlySpan<byte> data)
    {
        byte[] copy = data.ToArray();
        return DebugCopy(address, copy, write: true);
    }

    private bool DebugCopy(ulong address, Span<byte> data, bool write)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var context = new PagingContext(Cr0, Cr3, Cr4, Efer, false, true, PhysicalAddressBits) { WrapsAtMebibyte = !Mmu.A20 };
        while (!data.IsEmpty)
        {
            PageWalkResult walk = PageWalk.Probe(_memory, context, address, AccessKind.Read);
            if (!walk.Succeeded)
            {
                return false;
            }

            Span<byte> piece = data[..(int)Math.Min((ulong)data.Length, 4096 - (address & 4095))];
            if (write)
            {
                WriteCodePage(walk.PhysicalAddress, piece);
            }
            else if (!_memory.Read(walk.PhysicalAddress, piece))
            {
                return false;
            }

            address += (ulong)piece.Length;
            data = data[piece.Length..];
        }

        return true;
    }

    private void Reset()
    {
        State->XsaveMask = HostXsave.Mask;
        State->HostMxcsr = 0x1F80;
        State->X87Operand = X87Pointers.NoOperand;
        State->SystemFlags = 2;
        Rflags = 2;
        Cr0 = X86.Cr0.Reset;
        Rip = 0xFFF0;
        Rdx = 0x600;
        Segments.Reset();
        ModeChanged();
        Dr[6] = 0xFFFF0FF0;
        Dr[7] = 0x400;
        ResetXsave();
    }

    private void ResetXsave()
    {
        new Span<byte>(XsaveArea, StateLayout.XsaveLength).Clear();
        *(ushort*)XsaveArea = 0x37F;
        *(uint*)(XsaveArea + 24) = 0x1F80;
        X87.Pointers = default;
    }
}
