using Yadokari.Linux;

namespace Yadokari.Translation.Code;

/// <summary>
/// Host code of one vCPU: a memory file mapped twice, so that no mapping is both writable and executable. Blocks are emitted one after another,
/// each in two parts: its hot code in the first half, its exits in the second (cold) half, so that rarely run code does not fill the processor's
/// instruction cache and TLB. When a half is full, the whole cache is flushed. At most <see cref="Limit"/> bytes are used: the host allocates
/// memory at the first access.
/// </summary>
internal sealed unsafe class CodeCache : IDisposable
{
    private const int WithdrawBytes = 1 << 20;

    private readonly MemoryFile _file;
    private readonly byte* _writable;
    private readonly long _delta;
    private Half _hot;
    private Half _cold;

    /// <param name="length">Bytes; a multiple of 8192, or of 4096 if only one half is used.</param>
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

    /// <summary>Bytes that may be used, half of them in each half; at most <see cref="Length"/>. May be changed while the cache is empty.</summary>
    public int Limit { get; set; }

    /// <summary>Bytes in use.</summary>
    public long Used => _hot.Used + _cold.Used;

    /// <summary>First executable address.</summary>
    public byte* ExecutableStart => _writable + _delta;

    /// <summary>Address of the next block's hot code, in the writable view.</summary>
    public byte* Next => _hot.Next;

    /// <summary>Address of the next block's exits and table, in the writable view.</summary>
    public byte* NextCold => _cold.Next;

    /// <summary>Whether both halves have room for this many bytes.</summary>
    public bool HasRoom(int bytes) => Math.Max(_hot.Used, _cold.Used) + bytes <= Limit / 2;

    /// <summary>Ends a block's hot code: the next starts at <paramref name="end"/>, aligned.</summary>
    public void Commit(byte* end) => _hot.Commit(end);

    /// <summary>Ends a block's exits and table.</summary>
    public void CommitCold(byte* end) => _cold.Commit(end);

    /// <summary>Keeps the code so far (the stubs) when the cache is cleared.</summary>
    public void KeepSoFar() => _hot.First = _hot.Next;

    /// <summary>Drops all blocks.</summary>
    public void Clear()
    {
        _hot.Clear();
        _cold.Clear();
    }

    /// <summary>The executable address of code at <paramref name="writable"/>.</summary>
    public byte* Executable(byte* writable) => writable + _delta;

    /// <summary>The writable address of code at <paramref name="executable"/>.</summary>
    public byte* Writable(byte* executable) => executable - _delta;

    public void Dispose() => _file.Dispose();

    private struct Half
    {
        private readonly byte* _start;

        // Start of the recently written bytes.
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
                // Older bytes are rarely written again, only by links: their pages need not be resident in the writable view.
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
