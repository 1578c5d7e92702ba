namespace Yadokari.X86.Paging;

/// <summary>The error code of #PF (Intel SDM volume 3, figure 5-12).</summary>
[Flags]
public enum PageFaultError : uint
{
    /// <summary>A supervisor read of a page that is not present.</summary>
    None = 0,

    /// <summary>P: the page is present; rights or reserved bits were violated.</summary>
    Protection = 1 << 0,

    /// <summary>W/R: the access was a write.</summary>
    Write = 1 << 1,

    /// <summary>U/S: the access was made with user rights.</summary>
    User = 1 << 2,

    /// <summary>RSVD: a reserved bit was set in a present entry.</summary>
    Reserved = 1 << 3,

    /// <summary>I/D: an instruction fetch; set only while NXE or SMEP is on.</summary>
    Fetch = 1 << 4,
}

/// <summary>Rights and state of a page for the privilege level of the access.</summary>
[Flags]
public enum PageRights : byte
{
    /// <summary>Nothing: the walk failed.</summary>
    None = 0,

    /// <summary>Data may be read.</summary>
    Readable = 1 << 0,

    /// <summary>Data may be written. A write needs another walk unless <see cref="Dirty"/> is set.</summary>
    Writable = 1 << 1,

    /// <summary>Instructions may be fetched.</summary>
    Executable = 1 << 2,

    /// <summary>The leaf's dirty bit is set: a write needs no walk to set it.</summary>
    Dirty = 1 << 3,

    /// <summary>The translation stays valid when CR3 changes.</summary>
    Global = 1 << 4,

    /// <summary>A user page: U/S is set on every level.</summary>
    User = 1 << 5,

    /// <summary>The leaf's accessed bit is set: an access needs no walk to set it.</summary>
    Accessed = 1 << 6,
}

/// <summary>The result of a page walk.</summary>
public readonly struct PageWalkResult
{
    private PageWalkResult(ulong physicalAddress, ulong pageSize, PageRights rights, PageFaultError error)
    {
        PhysicalAddress = physicalAddress;
        PageSize = pageSize;
        Rights = rights;
        Error = error;
    }

    /// <summary>The physical address of the byte asked for, if <see cref="Succeeded"/>.</summary>
    public ulong PhysicalAddress { get; }

    /// <summary>Bytes of the page that holds it: 4 KiB, 2 MiB, 4 MiB or 1 GiB; 1 GiB without paging. 0 if the walk failed.</summary>
    public ulong PageSize { get; }

    /// <summary>Rights for the privilege level of the access; none if the walk failed.</summary>
    public PageRights Rights { get; }

    /// <summary>The error code of #PF, if not <see cref="Succeeded"/>.</summary>
    public PageFaultError Error { get; }

    /// <summary>Whether the access is allowed.</summary>
    public bool Succeeded => PageSize != 0;

    /// <summary>Whether the translation is global.</summary>
    public bool IsGlobal => (Rights & PageRights.Global) != 0;

    internal static PageWalkResult Found(ulong physicalAddress, ulong pageSize, PageRights rights) =>
        new(physicalAddress, pageSize, rights, PageFaultError.None);

    internal static PageWalkResult Fault(PageFaultError error) => new(0, 0, PageRights.None, error);
}
