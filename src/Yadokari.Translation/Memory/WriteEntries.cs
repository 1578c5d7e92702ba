using System.Runtime.InteropServices;
using Yadokari.Core.Memory;

namespace Yadokari.Translation;

/// <summary>
/// By which entry of a vCPU's TLBs each page of RAM can be written: most pages by one at most, and so a page that becomes code need not be
/// looked for in all of them. Of the vCPU's thread.
/// </summary>
internal sealed unsafe class WriteEntries : IDisposable
{
    // By more than one at some time.
    private const uint Several = uint.MaxValue;
    private const int SpaceShift = 24;

    private readonly List<AddressSpace> _spaces;

    // For each page of RAM 0, or one more than an entry: the number of its address space, and a sixteenth of its offset there.
    private uint* _known;

    /// <param name="memory">Whose pages.</param>
    /// <param name="spaces">The vCPU's address spaces, by number; more may come.</param>
    public WriteEntries(GuestMemory memory, List<AddressSpace> spaces)
    {
        _spaces = spaces;

        // SAFETY: one number for each page below the end of RAM, and all pages asked about are of RAM. The host gives memory when it is touched.
        _known = (uint*)NativeMemory.AllocZeroed((nuint)((memory.End + 4095) >> 12), sizeof(uint));
    }

    /// <summary>A page can be written by an entry from now on.</summary>
    /// <param name="gpa">An address in the page of RAM.</param>
    /// <param name="host">The host's address of it.</param>
    /// <param name="space">Whose entry it is.</param>
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

    /// <summary>Forgets all entries by which a page can be written.</summary>
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

    /// <summary>Gives the memory back. May be called again.</summary>
    public void Dispose()
    {
        NativeMemory.Free(_known);
        _known = null;
    }

    private AddressSpace SpaceOf(uint known) => _spaces[(int)((known - 1) >> SpaceShift)];

    private static int OffsetOf(uint known) => (int)((known - 1) & ((1u << SpaceShift) - 1)) << 4;
}
