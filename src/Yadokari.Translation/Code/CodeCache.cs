using Yadokari.Linux;

namespace Yadokari.Translation.Code;

/// <summary>
/// Host code of one vCPU: a memory file mapped twice, so that no address is ever both writable and executable.
/// Blocks are laid down one after another, each in two parts: what runs again and again in the first half, and its ways out in the second,
/// so that neither the processor's instruction cache nor its TLB is filled by code that hardly runs. When either half is full everything
/// goes and translation starts afresh. Only so much of it is used as <see cref="Limit"/> says: memory is taken from the host when first touched.
/// </summary>
internal sealed unsafe class CodeCache : IDisposable
{
    private const int WithdrawBytes = 1 << 20;

    private readonly MemoryFile _file;
    private readonly byte* _writable;
    private readonly long _delta;
    private Half _hot;
    private Half _cold;

    /// <param name="length">Bytes; a multiple of 8192, or of 4096 where only one half is used.</param>
    public CodeCache(int length)
    {
        Length = length;
        _file = new MemoryFile("yadokari-code", length);
        _writable = (byte*)_file.Map(0, length, executable: false);
        var executable = (byte*)_file.Map(0, length, executable: true);
        _delta = executable - _writable;
        int half = length / 2;
        _hot = new Half(_writable);
        _cold = new Half(_writable + half);
        Limit = length;
    }

    /// <summary>Bytes of the cache.</summary>
    public int Length { get; }

    /// <summary>Bytes that may be used, half of them in each half; <see cref="Length"/> at most. To be changed when it is clear.</summary>
    public int Limit { get; set; }

    /// <summary>Bytes in use.</summary>
    public long Used => _hot.Used + _cold.Used;

    /// <summary>First executable address.</summary>
    public byte* ExecutableStart => _writable + _delta;

    /// <summary>Where the next code goes, in the writable view.</summary>
    public byte* Next => _hot.Next;

    /// <summary>Where the next block's ways out and table go, in the writable view.</summary>
    public byte* NextCold => _cold.Next;

    /// <summary>Whether so many bytes fit, of either kind.</summary>
    public bool HasRoom(int bytes) => Math.Max(_hot.Used, _cold.Used) + bytes <= Limit / 2;

    /// <summary>Ends a piece of code: the next one starts at <paramref name="end"/>, aligned.</summary>
    public void Commit(byte* end) => _hot.Commit(end);

    /// <summary>Ends what belongs to it in the other half.</summary>
    public void CommitCold(byte* end) => _cold.Commit(end);

    /// <summary>What was laid down so far (the stubs) stays when the cache is cleared.</summary>
    public void KeepSoFar() => _hot.First = _hot.Next;

    /// <summary>Drops all blocks.</summary>
    public void Clear()
    {
        _hot.Clear();
        _cold.Clear();
    }

    /// <summary>The address at which code runs that was written at <paramref name="writable"/>.</summary>
    public byte* Executable(byte* writable) => writable + _delta;

    /// <summary>The address at which to write code that runs at <paramref name="executable"/>.</summary>
    public byte* Writable(byte* executable) => executable - _delta;

    public void Dispose() => _file.Dispose();

    private struct Half
    {
        private readonly byte* _start;

        // Start of what has been written lately.
        private byte* _recent;

        public Half(byte* start) => _start = _recent = Next = First = start;

        public byte* Next { get; private set; }

        public byte* First { get; set; }

        public readonly long Used => Next - _start;

        public void Commit(byte* to)
        {
            Next = (byte*)(((nint)to + 15) & ~15);
            if (Next - _recent >= WithdrawBytes)
            {
                // What was written a while ago is hardly written again, but for a link here and there: only its executable view need be resident.
                MemoryFile.Withdraw((nint)_start, (long)(_recent - _start) & -4096);
                _recent = Next;
            }
        }

        public void Clear()
        {
            Next = First;
            _recent = _start;
        }
    }
}
