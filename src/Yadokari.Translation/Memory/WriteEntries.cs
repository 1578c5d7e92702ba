using System.Runtime.InteropServices;
using Yadokari.Core.Memory;

namespace Yadokari.Translation;

/// <summary>
/// An index of the TLB entries by which each page of RAM can be written. Most pages have at most one, so that a page that becomes code need not be
/// searched in all TLBs. On the vCPU's thread.
/// </summary>
internal sealed unsafe class WriteEntries : IDisposable
{
    // The page has had more than one write entry.
    private const uint Several = uint.MaxValue;
    private const int SpaceShift = 24;

    private readonly List<AddressSpace> _spaces;

    // For each page of RAM, 0, or an entry plus one: the number of its address space, and its offset there divided by 16.
    private uint* _known;

    /// <param name="memory">Guest memory.</param>
    /// <param name="spaces">The vCPU's address spaces by number; the list may grow.</param>
    public WriteEntries(GuestMemory memory, List<AddressSpace> spaces)
    {
        _spaces = spaces;

        // SAFETY: one number for each page below the end of RAM, and callers pass only pages of RAM. The host allocates memory at the first access.
        _known = (uint*)NativeMemory.AllocZeroed((nuint)((memory.End + 4095) >> 12), sizeof(uint));
    }

    /// <summary>Adds a write entry of a page.</summary>
    /// <param name="gpa">An address in the page of RAM.</param>
    /// <param name="host">Its host address.</param>
    /// <param name="space">The address space of the entry.</param>
    /// <param name="offset">The entry's offset there.</param>
    public void Add(ulong gpa, byte* host, AddressSpace space, int offset)
    {
        ref uint known = ref _known[gpa >> 12];
        uint entry = (((uint)space.Number << SpaceShift) | ((uint)offset >> 4)) + 1;
        if (known != entry && known != Several)
        {
            known = known != 0 && SpaceOf(known).Reaches(OffsetOf(known), host) ? Several : entry;
        }
    }

    /// <summary>Drops all write entries of a page from the TLBs.</summary>
    public void Drop(ulong gpa, byte* host)
    {
        ref uint known = ref _known[gpa >> 12];
        if (known == Several)
        {
            foreach (AddressSpace space in _spaces)
            {
                space.DropWriteEntries(host);
            }
        }
        else if (known != 0)
        {
            SpaceOf(known).DropEntry(OffsetOf(known), host);
        }

        known = 0;
    }

    /// <summary>Frees the memory. May be called again.</summary>
    public void Dispose()
    {
        NativeMemory.Free(_known);
        _known = null;
    }

    private AddressSpace SpaceOf(uint known) => _spaces[(int)((known - 1) >> SpaceShift)];

    private static int OffsetOf(uint known) => (int)((known - 1) & ((1u << SpaceShift) - 1)) << 4;
}
