using System.Buffers.Binary;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Translation.Direct;

/// <summary>What the process may do with a page.</summary>
[Flags]
internal enum PageUse : byte
{
    None = 0,
    Read = 1,
    Write = 2,
    Execute = 4,
}

/// <summary>
/// A child process whose address space mirrors a guest's: pieces of guest RAM mapped where the guest's page tables show them. User code
/// runs there as it is; everything else stops it. The process can make no system call but mapping guest RAM, and that only at the
/// monitor's word: while guest code runs, each is stopped before it happens. Of the vCPU's thread, but for <see cref="Kick"/>.
/// </summary>
internal sealed unsafe class Sandbox : IDisposable
{
    /// <summary>More mappings than this are never kept: the kernel has a limit of 65,530 (vm.max_map_count).</summary>
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
    private readonly List<ulong> _gone = [];

    // Writable and executable mappings of each physical page, or large page (whose numbers have bit 63 set).
    private readonly Dictionary<ulong, int> _uses = [];
    private readonly byte[] _extended;
    private readonly int _extendedLength;
    private TracedRegisters _template;
    private ulong _held;
    private int _count;
    private bool _failed; // The process could not do what was asked: what it shows is not known any more.

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
        _held = _template.Rflags;
        byte[] area = new byte[16384];
        _extendedLength = _process.ReadExtended(area);
        _extended = area[.._extendedLength];
    }

    /// <summary>Starts one, or null where the host does not let it.</summary>
    public static Sandbox? Start(GuestMemory memory)
    {
        if (GuestRam.FileOf(memory) is not { } ram)
        {
            return null;
        }

        // Where no guest has anything, and none can know.
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
                    // The kernel's own gifts go first: stack, vDSO and its data.
                    sandbox.UnmapAll();
                    if (sandbox.Settle())
                    {
                        // Ended by the breakpoint after it: the host's kernel promised a signal and the processor gave none.
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

    /// <summary>Its process's number.</summary>
    public int ProcessId => _process.Id;

    /// <summary>How long it has run and waited for a processor.</summary>
    public SchedulerStatistics Schedule { get; }

    /// <summary>Processor time that guest code used, in nanoseconds.</summary>
    public long ProcessorTime => _process.ProcessorTime - OwnTime;

    /// <summary>Processor time that the process used at the monitor's word, in nanoseconds.</summary>
    public long OwnTime { get; private set; }

    /// <summary>RDTSC stops it. A host that is a guest without hardware support may not be able to.</summary>
    public bool HidesClock { get; private set; }

    /// <summary>CPUID stops it: the host's processor and kernel can make it.</summary>
    public bool HidesProcessor { get; private set; }

    /// <summary>Pages mapped.</summary>
    public int Pages => _pages.Count;

    /// <summary>Whether an address is the sandbox's own, where the guest's tables count for nothing.</summary>
    public bool Owns(ulong linear) => linear - _start < SandboxProgram.Table + SandboxProgram.TableBytes;

    /// <summary>What a page may be used for; None if it is not mapped.</summary>
    public PageUse UseOf(ulong linear) => Find(linear, out _, out Mirrored page) ? page.Use : PageUse.None;

    /// <summary>The physical page that may be executed at an address; all ones if none.</summary>
    public ulong CodeAt(ulong linear) => _pages.TryGetValue(linear & ~4095ul, out Mirrored page) && (page.Use & PageUse.Execute) != 0 ? page.Gpa : ulong.MaxValue;

    /// <summary>Maps a page of guest RAM, before guest code runs next.</summary>
    /// <param name="linear">Where; a multiple of <paramref name="length"/>.</param>
    /// <param name="gpa">What; a multiple of 4096, <paramref name="length"/> bytes of one region.</param>
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
            // What stood there page by page is replaced.
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

    /// <summary>Drops the page that holds an address, unless it holds.</summary>
    public void Review(ulong linear, Func<ulong, ulong, uint, PageUse, bool> holds)
    {
        if (Find(linear, out ulong start, out Mirrored page) && !holds(start, page.Gpa, page.Length, page.Use))
        {
            Unmap(start, page.Length);
        }
    }

    /// <summary>Drops all pages.</summary>
    public void UnmapAll()
    {
        _count = 0;
        _pages.Clear();
        _uses.Clear();
        ulong end = _start + SandboxProgram.Table + SandboxProgram.TableBytes;
        Add(SandboxProgram.Unmap, 0, _start, 0, 0);
        Add(SandboxProgram.Unmap, end, UserEnd - end, 0, 0);
    }

    /// <summary>Drops what no longer holds.</summary>
    /// <param name="holds">Whether a linear page still shows that physical page with these rights.</param>
    public void Review(Func<ulong, ulong, uint, PageUse, bool> holds)
    {
        foreach ((ulong linear, Mirrored page) in _pages)
        {
            if (!holds(linear, page.Gpa, page.Length, page.Use))
            {
                _gone.Add(linear);
            }
        }

        Forget();
    }

    /// <summary>Drops what lets the process use a physical page in some way.</summary>
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
                _gone.Add(linear);
            }
        }

        Forget();
    }

    /// <summary>Drops what lets the process use any page in some way.</summary>
    public void Revoke(PageUse use)
    {
        foreach ((ulong linear, Mirrored page) in _pages)
        {
            if ((page.Use & use) != 0)
            {
                _gone.Add(linear);
            }
        }

        Forget();
    }

    /// <summary>Carries out what was asked. False if the process can't any more: it is of no use then.</summary>
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

        // The guest's program can read the table: nothing of where its pages lie stays there.
        new Span<ulong>(_operations, words).Clear();
        _failed = !done;
        return done;
    }

    /// <summary>Gives the process the registers to run with. False if the kernel refuses them.</summary>
    public bool Load(in TracedRegisters registers)
    {
        if (((registers.Rflags ^ _held) & Identification) != 0)
        {
            // The kernel sets all flags but this one, which it leaves to POPF.
            _operations[(SandboxProgram.Flags - SandboxProgram.Table) / 8] = (registers.Rflags & Identification) | 0x202;
            if (!RunOwn(_entries.Flags, out _))
            {
                return false;
            }

            _held = registers.Rflags;
        }

        return _process.Write(registers);
    }

    /// <summary>Gives the process its x87 and vector registers: an XSAVE area in the standard format.</summary>
    public bool LoadExtended(ReadOnlySpan<byte> area)
    {
        area = area[..Math.Min(area.Length, _extendedLength)];
        Span<byte> present = _extended.AsSpan(0, area.Length);
        if (present.SequenceEqual(area))
        {
            // They are there still.
            return true;
        }

        area.CopyTo(present);
        _extended.AsSpan(area.Length).Clear();
        KeepControl(_extended);
        return _process.WriteExtended(_extended);
    }

    // The host's kernel loads the compacted format, where MXCSR is part of the XMM registers' state (SDM 1 13.8.2): of an area that says
    // they are as after a reset, MXCSR would be too. On the way out processors say themselves that there is something of it to be saved
    // (SDM 1 13.10, 13.11).
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
    /// Makes a stop with nothing between, to see what one costs now: nanoseconds of the monitor's processor time and of the process's own.
    /// False if the process can't any more.
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

    /// <summary>Runs guest code until something stops it.</summary>
    public TraceStop Run(out int signal)
    {
        _process.ResumeWithoutSystemCalls();
        return _process.Wait(out signal);
    }

    /// <summary>The registers after a stop.</summary>
    public void Save(out TracedRegisters registers)
    {
        _process.Read(out registers);
        _held = registers.Rflags;
    }

    /// <summary>The x87 and vector registers after a stop. False if the process has none any more.</summary>
    public bool SaveExtended(Span<byte> area)
    {
        bool read = _process.ReadExtended(_extended) == _extendedLength;
        _extended.AsSpan(0, Math.Min(area.Length, _extendedLength)).CopyTo(area);
        return read;
    }

    /// <summary>Why a signal came, and for which address.</summary>
    public void ReadSignal(out int code, out ulong address) => _process.ReadSignal(out code, out address);

    /// <summary>Makes it stop soon. Any thread.</summary>
    public void Kick() => _process.Kick();

    public void Dispose()
    {
        _process.Dispose();
        _program.Dispose();
        _table.Dispose();
        Schedule.Dispose();
    }

    // Runs a piece of the program that ends in a breakpoint.
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

            // A kick that came late is nothing.
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

    private void Forget()
    {
        foreach (ulong linear in _gone)
        {
            Unmap(linear, _pages[linear].Length);
        }

        _gone.Clear();
    }

    private void Add(int call, ulong linear, ulong length, ulong protection, ulong offset)
    {
        int words = SandboxProgram.OperationBytes / 8;
        if ((_count + 2) * SandboxProgram.OperationBytes > SandboxProgram.TableBytes - 8 && !Settle())
        {
            return;
        }

        // Neighbours in both spaces go together.
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
