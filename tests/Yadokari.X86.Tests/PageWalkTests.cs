using Xunit;
using Yadokari.X86.Paging;
using static Yadokari.X86.Paging.PageFaultError;

namespace Yadokari.X86.Tests;

public sealed class PageWalkTests : IDisposable
{
    private const ulong P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100, NX = 1ul << 63;
    private const ulong Linear = 0xFFFF_8123_4567_89AB;
    private const ulong Pml4 = 0x1000, Pdpt = 0x2000, Pd = 0x3000, Pt = 0x4000;

    private static readonly ulong s_pml4e = Pml4 + ((Linear >> 39) & 511) * 8;
    private static readonly ulong s_pdpte = Pdpt + ((Linear >> 30) & 511) * 8;
    private static readonly ulong s_pde = Pd + ((Linear >> 21) & 511) * 8;
    private static readonly ulong s_pte = Pt + ((Linear >> 12) & 511) * 8;

    private readonly TestMemory _memory = new(0x10000);

    public PageWalkTests()
    {
        _memory[s_pml4e] = Pdpt | P | RW | US;
        _memory[s_pdpte] = Pd | P | RW | US;
        _memory[s_pde] = Pt | P | RW | US;
        _memory[s_pte] = 0x12_3456_7000 | P | RW | US;
    }

    public void Dispose() => _memory.Dispose();

    private static PagingContext Long(
        bool user = false, bool ac = false, ulong cr0 = Cr0.WP, ulong cr4 = 0, ulong efer = Efer.NXE, int bits = 40) =>
        new(cr0 | Cr0.PG | Cr0.PE, Pml4 | 0xFFF, cr4 | Cr4.PAE, efer | Efer.LMA | Efer.LME, user, ac, bits);

    private PageWalkResult Walk(in PagingContext context, AccessKind access = AccessKind.Read, ulong linear = Linear) =>
        PageWalk.Walk(_memory.Guest, context, linear, access);

    private void Faults(PageFaultError error, in PagingContext context, AccessKind access = AccessKind.Read)
    {
        ulong[] before = [_memory[s_pml4e], _memory[s_pdpte], _memory[s_pde], _memory[s_pte]];
        PageWalkResult result = Walk(context, access);
        Assert.False(result.Succeeded);
        Assert.Equal(error, result.Error);
        ulong[] after = [_memory[s_pml4e], _memory[s_pdpte], _memory[s_pde], _memory[s_pte]];
        Assert.Equal(before, after);
    }

    [Fact]
    public void Four_levels_lead_to_the_byte()
    {
        PageWalkResult result = Walk(Long(user: true));
        Assert.True(result.Succeeded);
        Assert.Equal(0x12_3456_79ABul, result.PhysicalAddress);
        Assert.Equal(4096ul, result.PageSize);
        Assert.Equal(PageRights.Readable | PageRights.Writable | PageRights.Executable | PageRights.User, result.Rights);
    }

    [Fact]
    public void A_read_marks_accessed_and_a_write_dirty()
    {
        Walk(Long());
        Assert.All([s_pml4e, s_pdpte, s_pde, s_pte], e => Assert.Equal(A, _memory[e] & (A | D)));
        PageWalkResult result = Walk(Long(), AccessKind.Write);
        Assert.True((result.Rights & PageRights.Dirty) != 0);
        Assert.Equal(A, _memory[s_pde] & (A | D));
        Assert.Equal(A | D, _memory[s_pte] & (A | D));
    }

    [Fact]
    public void A_probe_marks_nothing()
    {
        Assert.True(PageWalk.Probe(_memory.Guest, Long(), Linear, AccessKind.Write).Succeeded);
        Assert.Equal(0ul, (_memory[s_pml4e] | _memory[s_pte]) & (A | D));
    }

    [Fact]
    public void An_entry_missing_on_any_level_faults()
    {
        foreach (ulong entry in (ulong[])[s_pml4e, s_pdpte, s_pde, s_pte])
        {
            ulong whole = _memory[entry];
            _memory[entry] = whole & ~P;
            Faults(None, Long());
            Faults(Write | User, Long(user: true), AccessKind.Write);
            Faults(Fetch, Long(), AccessKind.Execute);
            Faults(None, Long(efer: 0), AccessKind.Execute);
            Faults(Fetch, Long(efer: 0, cr4: Cr4.SMEP), AccessKind.Execute);
            _memory[entry] = whole;
        }
    }

    [Fact]
    public void Reserved_bits_fault_on_any_level()
    {
        foreach (ulong entry in (ulong[])[s_pml4e, s_pdpte, s_pde, s_pte])
        {
            ulong whole = _memory[entry];
            _memory[entry] = whole | (1ul << 40);
            Faults(Protection | Reserved, Long());
            _memory[entry] = whole | (1ul << 52);
            Assert.True(Walk(Long()).Succeeded);
            _memory[entry] = whole | NX;
            Faults(Protection | Reserved, Long(efer: 0));
            _memory[entry] = whole;
        }

        _memory[s_pml4e] |= PS;
        Faults(Protection | Reserved, Long());
    }

    [Fact]
    public void User_needs_user_pages_on_every_level()
    {
        foreach (ulong entry in (ulong[])[s_pml4e, s_pdpte, s_pde, s_pte])
        {
            _memory[entry] &= ~US;
            Faults(Protection | User, Long(user: true));
            Assert.True(PageWalk.Probe(_memory.Guest, Long(user: true), Linear, AccessKind.Implicit).Succeeded);
            Assert.True(PageWalk.Probe(_memory.Guest, Long(), Linear, AccessKind.Read).Succeeded);
            _memory[entry] |= US;
        }
    }

    [Fact]
    public void Write_protection_binds_users_always_and_supervisors_under_wp()
    {
        _memory[s_pde] &= ~RW;
        Faults(Protection | Write | User, Long(user: true), AccessKind.Write);
        Faults(Protection | Write | User, Long(user: true, cr0: 0), AccessKind.Write);
        Faults(Protection | Write, Long(), AccessKind.Write);
        Assert.True(Walk(Long(cr0: 0), AccessKind.Write).Succeeded);
        Assert.Equal(D, _memory[s_pte] & D);
        Assert.Equal(PageRights.None, Walk(Long()).Rights & PageRights.Writable);
    }

    [Fact]
    public void No_execute_on_any_level_stops_fetches()
    {
        foreach (ulong entry in (ulong[])[s_pml4e, s_pdpte, s_pde, s_pte])
        {
            ulong whole = _memory[entry];
            _memory[entry] |= NX;
            Faults(Protection | Fetch, Long(), AccessKind.Execute);
            Faults(Protection | Fetch | User, Long(user: true), AccessKind.Execute);
            Assert.Equal(PageRights.Readable, PageWalk.Probe(_memory.Guest, Long(), Linear, 0).Rights & (PageRights.Readable | PageRights.Executable));
            _memory[entry] = whole;
        }
    }

    [Fact]
    public void Smep_stops_supervisor_fetches_from_user_pages()
    {
        Faults(Protection | Fetch, Long(cr4: Cr4.SMEP), AccessKind.Execute);
        Assert.True(Walk(Long(cr4: Cr4.SMEP, user: true), AccessKind.Execute).Succeeded);
        _memory[s_pte] &= ~US;
        Assert.True(Walk(Long(cr4: Cr4.SMEP), AccessKind.Execute).Succeeded);
    }

    [Fact]
    public void Smap_stops_supervisor_data_but_for_ac_and_never_for_implicit_accesses()
    {
        Faults(Protection, Long(cr4: Cr4.SMAP));
        Faults(Protection | Write, Long(cr4: Cr4.SMAP), AccessKind.Write);
        Faults(Protection, Long(cr4: Cr4.SMAP, ac: true), AccessKind.Implicit);
        Faults(Protection, Long(cr4: Cr4.SMAP, ac: true, user: true), AccessKind.Implicit);
        Assert.True(Walk(Long(cr4: Cr4.SMAP), AccessKind.Execute).Succeeded);
        Assert.True(Walk(Long(cr4: Cr4.SMAP, ac: true)).Succeeded);
        Assert.True(Walk(Long(cr4: Cr4.SMAP, user: true)).Succeeded);
    }

    [Fact]
    public void Large_pages_have_their_sizes_and_reserved_bits()
    {
        _memory[s_pde] = 0x1_4020_0000 | P | RW | PS | G | (1 << 12);
        PageWalkResult two = Walk(Long(cr4: Cr4.PGE), AccessKind.Write);
        Assert.Equal((0x1_4020_0000ul | (Linear & 0x1F_FFFF), 1ul << 21, true), (two.PhysicalAddress, two.PageSize, two.IsGlobal));
        Assert.Equal(A | D, _memory[s_pde] & (A | D));
        Assert.False(Walk(Long()).IsGlobal);
        _memory[s_pde] |= 1 << 13;
        Faults(Protection | Reserved, Long());

        _memory[s_pdpte] = 0x1_4000_0000 | P | RW | PS;
        PageWalkResult one = Walk(Long());
        Assert.Equal((0x1_4000_0000ul | (Linear & 0x3FFF_FFFF), 1ul << 30), (one.PhysicalAddress, one.PageSize));
        _memory[s_pdpte] |= 1 << 29;
        Faults(Protection | Reserved, Long());
    }

    [Fact]
    public void Tables_outside_ram_read_as_all_ones()
    {
        _memory[s_pml4e] = 0x100_0000 | P | RW | US;
        Faults(Protection | Reserved, Long());
    }

    [Fact]
    public void Pae_has_three_levels_and_pointers_without_rights()
    {
        const ulong pointers = 0x1020;
        const uint linear = 0xC020_3456;
        _memory[pointers + 3 * 8] = Pd | P;
        _memory[Pd + 1 * 8] = Pt | P | RW | US;
        _memory[Pt + 3 * 8] = 0x1_0000_5000 | P | RW | US | NX;
        var context = new PagingContext(Cr0.PG | Cr0.WP, pointers, Cr4.PAE, Efer.NXE, true, false, 40);
        PageWalkResult result = Walk(context, AccessKind.Write, linear | (1ul << 40));
        Assert.Equal(0x1_0000_5456ul, result.PhysicalAddress);
        Assert.Equal(PageRights.None, result.Rights & PageRights.Executable);
        Assert.Equal(A | D, _memory[Pt + 3 * 8] & (A | D));
        Assert.Equal(Pd | P, _memory[pointers + 3 * 8]);
        Assert.Equal(Protection | User | Fetch, Walk(context, AccessKind.Execute, linear).Error);

        _memory[pointers + 3 * 8] = Pd | P | RW;
        Assert.Equal(Protection | User | Reserved, Walk(context, AccessKind.Read, linear).Error);
        _memory[pointers + 3 * 8] = Pd | P;
        _memory[Pt + 3 * 8] |= 1ul << 52;
        Assert.Equal(Protection | User | Reserved, Walk(context, AccessKind.Read, linear).Error);
    }

    [Fact]
    public void Thirty_two_bit_paging_has_two_levels_and_pse36()
    {
        const uint linear = 0x0040_3456;
        _memory.Write32(0x1000 + 4, (uint)(Pt | P | RW | US));
        _memory.Write32(Pt + 12, 0xABCD_E000 | (uint)(P | US));
        var user = new PagingContext(Cr0.PG, 0x1000, 0, 0, true, false, 40);
        Assert.Equal(0xABCD_E456ul, Walk(user, AccessKind.Read, linear).PhysicalAddress);
        Assert.Equal((uint)A, _memory.Read32(Pt + 12) & (uint)(A | D));
        Assert.Equal(Protection | Write | User, Walk(user, AccessKind.Write, linear).Error);
        Assert.Equal(User, Walk(user, AccessKind.Read, 0x0080_0000).Error);

        _memory.Write32(0x1000 + 4, 0x8040_0000 | (0x12 << 13) | (uint)(P | RW | US | PS));
        var large = new PagingContext(Cr0.PG, 0x1000, Cr4.PSE, 0, true, false, 40);
        PageWalkResult result = Walk(large, AccessKind.Write, linear);
        Assert.Equal((0x12_8040_3456ul, 1ul << 22), (result.PhysicalAddress, result.PageSize));
        Assert.Equal((uint)(A | D), _memory.Read32(0x1004) & (uint)(A | D));
        Assert.Equal(Protection | User | Reserved, Walk(new PagingContext(Cr0.PG, 0x1000, Cr4.PSE, 0, true, false, 36), 0, linear).Error);
        _memory.Write32(0x1000 + 4, 0x8060_0000 | (uint)(P | RW | US | PS));
        Assert.Equal(Protection | User | Reserved, Walk(large, 0, linear).Error);
    }

    [Fact]
    public void Without_paging_linear_is_physical()
    {
        PageWalkResult result = Walk(new PagingContext(Cr0.PE, 0, 0, 0, false, false, 40), AccessKind.Write, 0xFEE0_0020);
        Assert.Equal(0xFEE0_0020ul, result.PhysicalAddress);
        Assert.True(result.Succeeded);
    }
}
