using System.Buffers.Binary;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Translation.Direct;

/// <summary>The process's rights to a page.</summary>
[Flags]
internal enum PageUse : byte
{
    None = 0,
    Read = 1,
    Write = 2,
    Execute = 4,
}

/// <summary>
/// A child process whose address space mirrors that of a guest's program: pages of guest RAM are mapped at the linear addresses given by the
/// guest's page tables. User code runs there unmodified; everything else stops the process. A seccomp filter allows it no system calls but mmap
/// and munmap, and while guest code runs, ptrace stops each system call before it is made. On the vCPU's thread, except <see cref="Kick"/>.
/// </summary>
internal sealed unsafe class Sandbox : IDisposable
{
    /// <summary>Maximum number of mapped pages: the kernel's default limit is 65,530 mappings (vm.max_map_count).</summary>
    private const int MaxPages = 48_000;

    private const ulong Identification = 1 << 21;

    // TASK_SIZE_MAX of the kernel's four-level paging.
    private const ulong UserEnd = 0x7FFF_FFFF_F000;

    private readonly record struct Mirrored(ulong Gpa, uint Length, PageUse Use);

    private readonly GuestMemory _memory;
    private readonly MemoryFile _ram;
    private readonly MemoryFile _program;
    private readonly MemoryFile _table;
    private readonly ulong* _operations;
    private readonly TracedProcess _process;
    private readonly SandboxEntries _entries;
    private readonly ulong _start;
    private readonly Dictionary<ulong, Mirrored> _pages = [];
    private readonly List<ulong> _toUnmap = [];

    // Number of writable or executable mappings of each physical page; large pages have bit 63 of their number set.
    private readonly Dictionary<ulong, int> _uses = [];
    private readonly byte[] _extended;
    private readonly int _extendedLength;
    private TracedRegisters _template;
    private ulong _processFlags; // RFLAGS of the process.
    private int _count; // Operations in the table.
    private bool _failed; // An operation failed: the mappings of the process are unknown.

    private Sandbox(GuestMemory memory, MemoryFile ram, MemoryFile program, MemoryFile table, nint operations, TracedProcess process, ulong start, SandboxEntries entries)
    {
        _memory = memory;
        _ram = ram;
        _program = program;
        _table = table;
        _operations = (ulong*)operations;
        _process = process;
        Schedule = SchedulerStatistics.OfProcess(process.Id);
        _start = start;
        _entries = entries;
        _process.Read(out _template);
        _template.OrigRax = ulong.MaxValue;
        _processFlags = _template.Rflags;
        byte[] area = new byte[16384];
        _extendedLength = _process.ReadExtended(area);
        _extended = area[.._extendedLength];
    }

    /// <summary>Starts a process. Returns null if the host does not permit it.</summary>
    public static Sandbox? Start(GuestMemory memory)
    {
        if (GuestRam.FileOf(memory) is not { } ram)
        {
            return null;
        }

        // A random address far from where programs have mappings, so that a guest can't find it.
        ulong start = ((ulong)Random.Shared.Next(0x1000, 0x5000) << 32) | ((ulong)Random.Shared.Next() << 12 & 0xFFFF_F000);
        MemoryFile table = new("yadokari-table", SandboxProgram.TableBytes);
        MemoryFile program = new("yadokari-guest", 4096);
        TracedProcess? process = null;
        try
        {
            nint operations = table.Map(0, SandboxProgram.TableBytes, executable: false);
            byte[] elf = SandboxProgram.Build(start, ram.Descriptor, table.Descriptor, out SandboxEntries entries);

            // SAFETY: the file is a page, the program shorter.
            elf.CopyTo(new Span<byte>((void*)program.Map(0, 4096, executable: false), 4096));
            process = TracedProcess.Start(program, ram, table);
            if (process != null)
            {
                var sandbox = new Sandbox(memory, ram, program, table, operations, process, start, entries);
                if (sandbox._template.Rbx == 0 && sandbox._extendedLength >= 576)
                {
                    // Unmaps what the kernel mapped: the stack, the vDSO and its data.
                    sandbox.UnmapAll();
                    if (sandbox.Settle())
                    {
                        // The instruction is not hidden if the breakpoint after it is reached, although the kernel accepted the request.
                        sandbox.HidesClock = !sandbox.RunOwn(entries.Clock, out _);
                        sandbox.HidesProcessor = !sandbox.RunOwn(entries.Identification, out _);
                        return sandbox;
                    }
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or Core.UserErrorException)
        {
        }

        process?.Dispose();
        program.Dispose();
        table.Dispose();
        return null;
    }

    /// <summary>The PID of the process.</summary>
    public int ProcessId => _process.Id;

    /// <summary>The scheduler's statistics of the process.</summary>
    public SchedulerStatistics Schedule { get; }

    /// <summary>Processor time of guest code in nanoseconds.</summary>
    public long ProcessorTime => _process.ProcessorTime - OwnTime;

    /// <summary>Processor time of the sandbox's own code (operations, measurements) in nanoseconds.</summary>
    public long OwnTime { get; private set; }

    /// <summary>Whether RDTSC stops the process. It may not on a host that is itself a virtual machine.</summary>
    public bool HidesClock { get; private set; }

    /// <summary>Whether CPUID stops the process: the host's processor and kernel support CPUID faulting.</summary>
    public bool HidesProcessor { get; private set; }

    /// <summary>Number of mapped pages.</summary>
    public int Pages => _pages.Count;

    /// <summary>Whether an address belongs to the sandbox's own program, where guest pages can't be mapped.</summary>
    public bool Owns(ulong linear) => linear - _start < SandboxProgram.Table + SandboxProgram.TableBytes;

    /// <summary>The rights to a page; <see cref="PageUse.None"/> if it is not mapped.</summary>
    public PageUse UseOf(ulong linear) => Find(linear, out _, out Mirrored page) ? page.Use : PageUse.None;

    /// <summary>Guest physical address of the executable page mapped at an address; all ones if there is none.</summary>
    public ulong CodeAt(ulong linear) => _pages.TryGetValue(linear & ~4095ul, out Mirrored page) && (page.Use & PageUse.Execute) != 0 ? page.Gpa : ulong.MaxValue;

    /// <summary>Maps a page of guest RAM. Takes effect at the next <see cref="Settle"/>.</summary>
    /// <param name="linear">Linear address; a multiple of <paramref name="length"/>.</param>
    /// <param name="gpa">Guest physical address; a multiple of 4096, <paramref name="length"/> bytes of one region.</param>
    /// <param name="length">4 KiB or 2 MiB.</param>
    /// <param name="use">The rights.</param>
    public void Map(ulong linear, ulong gpa, uint length, PageUse use)
    {
        if (_pages.Count >= MaxPages)
        {
            UnmapAll();
        }

        if (length == LargePage)
        {
            // The large mapping replaces those of single pages.
            for (ulong page = linear; page < linear + length && _pages.Count > 0; page += 4096)
            {
                Drop(page);
            }
        }
        else if (_pages.TryGetValue(linear & ~(LargePage - 1ul), out Mirrored large) && large.Length == LargePage)
        {
            Unmap(linear & ~(LargePage - 1ul), large.Length);
        }

        Drop(linear);
        _pages[linear] = new Mirrored(gpa, length, use);
        Count(_pages[linear], 1);
        int protection = (int)(use & PageUse.Read) | ((use & PageUse.Write) != 0 ? 2 : 0) | ((use & PageUse.Execute) != 0 ? 4 : 0);
        Add(SandboxProgram.Map, linear, length, (ulong)protection, (ulong)_ram.OffsetOf(_memory.HostAddress(gpa)));
    }

    /// <summary>Bytes of a large page.</summary>
    public const uint LargePage = 2 << 20;

    /// <summary>Unmaps the page that contains an address unless it still agrees with the guest's page tables.</summary>
    /// <param name="linear">The address.</param>
    /// <param name="holds">Whether a linear page is still mapped to that physical page with these rights.</param>
    public void Review(ulong linear, Func<ulong, ulong, uint, PageUse, bool> holds)
    {
        if (Find(linear, out ulong start, out Mirrored page) && !holds(start, page.Gpa, page.Length, page.Use))
        {
            Unmap(start, page.Length);
        }
    }

    /// <summary>Unmaps all pages.</summary>
    public void UnmapAll()
    {
        _count = 0;
        _pages.Clear();
        _uses.Clear();
        ulong end = _start + SandboxProgram.Table + SandboxProgram.TableBytes;
        Add(SandboxProgram.Unmap, 0, _start, 0, 0);
        Add(SandboxProgram.Unmap, end, UserEnd - end, 0, 0);
    }

    /// <summary>Unmaps the pages that no longer agree with the guest's page tables.</summary>
    /// <param name="holds">Whether a linear page is still mapped to that physical page with these rights.</param>
    public void Review(Func<ulong, ulong, uint, PageUse, bool> holds)
    {
        foreach ((ulong linear, Mirrored page) in _pages)
        {
            if (!holds(linear, page.Gpa, page.Length, page.Use))
            {
                _toUnmap.Add(linear);
            }
        }

        UnmapCollected();
    }

    /// <summary>Unmaps the mappings of a physical page that give any of these rights.</summary>
    public void Revoke(ulong gpa, PageUse use)
    {
        if (!_uses.ContainsKey(gpa >> 12) && !_uses.ContainsKey(LargeNumber(gpa)))
        {
            return;
        }

        foreach ((ulong linear, Mirrored page) in _pages)
        {
            if (gpa - page.Gpa < page.Length && (page.Use & use) != 0)
            {
                _toUnmap.Add(linear);
            }
        }

        UnmapCollected();
    }

    /// <summary>Unmaps all mappings that give any of these rights.</summary>
    public void Revoke(PageUse use)
    {
        foreach ((ulong linear, Mirrored page) in _pages)
        {
            if ((page.Use & use) != 0)
            {
                _toUnmap.Add(linear);
            }
        }

        UnmapCollected();
    }

    /// <summary>Runs the collected map and unmap operations in the process. False if one failed: the sandbox must be disposed then.</summary>
    public bool Settle()
    {
        if (_failed || _count == 0)
        {
            return !_failed;
        }

        int words = _count * (SandboxProgram.OperationBytes / 8);
        _operations[words] = 0;
        _count = 0;
        long before = _process.ProcessorTime;
        bool done = RunOwn(_entries.Batch, out TracedRegisters registers) && registers.Rax == 0;
        OwnTime += _process.ProcessorTime - before;

        // The guest's program can read the table: clear it, because it reveals the layout of guest memory.
        new Span<ulong>(_operations, words).Clear();
        _failed = !done;
        return done;
    }

    /// <summary>Sets the general registers of the process. False if the kernel refuses them.</summary>
    public bool Load(in TracedRegisters registers)
    {
        if (((registers.Rflags ^ _processFlags) & Identification) != 0)
        {
            // ptrace(2) sets all flags except ID: POPF in the sandbox's program sets it.
            _operations[(SandboxProgram.Flags - SandboxProgram.Table) / 8] = (registers.Rflags & Identification) | 0x202;
            if (!RunOwn(_entries.Flags, out _))
            {
                return false;
            }

            _processFlags = registers.Rflags;
        }

        return _process.Write(registers);
    }

    /// <summary>Sets the x87 and vector registers of the process from an XSAVE area in the standard format. False if the kernel refuses them.</summary>
    public bool LoadExtended(ReadOnlySpan<byte> area)
    {
        area = area[..Math.Min(area.Length, _extendedLength)];
        Span<byte> present = _extended.AsSpan(0, area.Length);
        if (present.SequenceEqual(area))
        {
            // The process has the same values already.
            return true;
        }

        area.CopyTo(present);
        _extended.AsSpan(area.Length).Clear();
        KeepControl(_extended);
        return _process.WriteExtended(_extended);
    }

    // The host's kernel converts the area to the compacted format, where MXCSR belongs to the SSE state component (SDM 1 13.8.2): if XSTATE_BV
    // marks that component as initial, MXCSR would be initialized too. So the component is marked as present. In the other direction,
    // XSAVEC and XSAVES mark it themselves if MXCSR is not initial (SDM 1 13.10, 13.11).
    private static void KeepControl(Span<byte> area)
    {
        const uint Initial = 0x1F80;
        const byte Xmm = 2;
        ref byte present = ref area[512];
        if ((present & Xmm) == 0 && BinaryPrimitives.ReadUInt32LittleEndian(area[24..]) != Initial)
        {
            present |= Xmm;
            area[160..416].Clear();
        }
    }

    /// <summary>
    /// Measures an empty stop: nanoseconds of processor time of the monitor and of the process. False if the process failed.
    /// </summary>
    public bool MeasureStop(out long monitor, out long own)
    {
        (monitor, own) = (0, 0);
        if (!Settle())
        {
            return false;
        }

        _operations[0] = 0;
        long time = _process.ProcessorTime;
        long began = TracedProcess.ThreadTime;
        bool done = RunOwn(_entries.Batch, out _);
        monitor = TracedProcess.ThreadTime - began;
        own = _process.ProcessorTime - time;
        OwnTime += own;
        return done;
    }

    /// <summary>Runs guest code until the process stops.</summary>
    public TraceStop Run(out int signal)
    {
        _process.ResumeWithoutSystemCalls();
        return _process.Wait(out signal);
    }

    /// <summary>Reads the general registers after a stop.</summary>
    public void Save(out TracedRegisters registers)
    {
        _process.Read(out registers);
        _processFlags = registers.Rflags;
    }

    /// <summary>Reads the x87 and vector registers after a stop. False if the process has ended.</summary>
    public bool SaveExtended(Span<byte> area)
    {
        bool read = _process.ReadExtended(_extended) == _extendedLength;
        _extended.AsSpan(0, Math.Min(area.Length, _extendedLength)).CopyTo(area);
        return read;
    }

    /// <summary>Reads si_code and si_addr of the signal that stopped the process.</summary>
    public void ReadSignal(out int code, out ulong address) => _process.ReadSignal(out code, out address);

    /// <summary>Stops the process asynchronously. Any thread.</summary>
    public void Kick() => _process.Kick();

    public void Dispose()
    {
        _process.Dispose();
        _program.Dispose();
        _table.Dispose();
        Schedule.Dispose();
    }

    // Runs a routine of the sandbox's program up to the breakpoint at its end. False if another signal stops it.
    private bool RunOwn(ulong at, out TracedRegisters registers)
    {
        registers = _template;
        registers.Rip = at;
        bool going = _process.Write(registers);
        while (going)
        {
            _process.Resume();
            TraceStop stop = _process.Wait(out int signal);
            if (stop == TraceStop.Signal && signal == SignalAction.Sigtrap)
            {
                _process.Read(out registers);
                return true;
            }

            // A late kick is ignored.
            going = stop == TraceStop.Signal && signal == TracedProcess.KickSignal;
        }

        return false;
    }

    private bool Find(ulong linear, out ulong start, out Mirrored page)
    {
        start = linear & ~4095ul;
        if (_pages.TryGetValue(start, out page))
        {
            return true;
        }

        start = linear & ~(LargePage - 1ul);
        return _pages.TryGetValue(start, out page) && page.Length == LargePage;
    }

    private void Unmap(ulong start, uint length)
    {
        Drop(start);
        Add(SandboxProgram.Unmap, start, length, 0, 0);
    }

    private void Drop(ulong start)
    {
        if (_pages.Remove(start, out Mirrored page))
        {
            Count(page, -1);
        }
    }

    private void Count(in Mirrored page, int by)
    {
        if ((page.Use & (PageUse.Write | PageUse.Execute)) != 0)
        {
            ulong number = page.Length == LargePage ? LargeNumber(page.Gpa) : page.Gpa >> 12;
            int uses = _uses.GetValueOrDefault(number) + by;
            if (uses == 0)
            {
                _uses.Remove(number);
            }
            else
            {
                _uses[number] = uses;
            }
        }
    }

    private static ulong LargeNumber(ulong gpa) => (gpa >> 21) | (1ul << 63);

    private void UnmapCollected()
    {
        foreach (ulong linear in _toUnmap)
        {
            Unmap(linear, _pages[linear].Length);
        }

        _toUnmap.Clear();
    }

    private void Add(int call, ulong linear, ulong length, ulong protection, ulong offset)
    {
        int words = SandboxProgram.OperationBytes / 8;
        if ((_count + 2) * SandboxProgram.OperationBytes > SandboxProgram.TableBytes - 8 && !Settle())
        {
            return;
        }

        // Merges with the previous operation if the pages are contiguous in both address spaces.
        ulong* last = _operations + ((_count - 1) * words);
        if (call == SandboxProgram.Map && _count > 0 && last[0] == SandboxProgram.Map && last[1] + last[2] == linear && last[3] == protection
            && last[4] + last[2] == offset)
        {
            last[2] += length;
            return;
        }

        ulong* operation = _operations + (_count++ * words);
        operation[0] = (ulong)call;
        operation[1] = linear;
        operation[2] = length;
        operation[3] = protection;
        operation[4] = offset;
    }
}
