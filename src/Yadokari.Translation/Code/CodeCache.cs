using Yadokari.Linux;

namespace Yadokari.Translation.Code;

/// <summary>
/// Host code of one vCPU: a memory file mapped twice, so that no address is ever both writable and executable.
/// Blocks are laid down one after another; when the cache is full everything goes and translation starts afresh.
/// </summary>
internal sealed unsafe class CodeCache : IDisposable
{
    private const int WithdrawBytes = 1 << 20;

    private readonly MemoryFile _file;
    private readonly byte* _writable;
    private readonly long _delta;
    private byte* _next;

    // Start of what has been written lately.
    private byte* _recent;
    private byte* _first;

    public CodeCache(int length)
    {
        Length = length;
        _file = new MemoryFile("yadokari-code", length);
        _writable = (byte*)_file.Map(0, length, executable: false);
        var executable = (byte*)_file.Map(0, length, executable: true);
        _delta = executable - _writable;
        _next = _first = _recent = _writable;
    }

    /// <summary>Bytes of the cache.</summary>
    public int Length { get; }

    /// <summary>Bytes in use.</summary>
    public long Used => _next - _writable;

    /// <summary>First executable address.</summary>
    public byte* ExecutableStart => _writable + _delta;

    /// <summary>Where the next code goes, in the writable view.</summary>
    public byte* Next => _next;

    /// <summary>Whether so many bytes fit.</summary>
    public bool HasRoom(int bytes) => _next + bytes <= _writable + Length;

    /// <summary>Ends a piece of code: the next one starts at <paramref name="end"/>, aligned.</summary>
    public void Commit(byte* end)
    {
        _next = (byte*)(((nint)end + 15) & ~15);
        if (_next - _recent >= WithdrawBytes)
        {
            // What was written a while ago is hardly written again, but for a link here and there: only its executable view need be resident.
            MemoryFile.Withdraw((nint)_writable, (long)(_recent - _writable) & -4096);
            _recent = _next;
        }
    }

    /// <summary>What was laid down so far (the stubs) stays when the cache is cleared.</summary>
    public void KeepSoFar() => _first = _next;

    /// <summary>Drops all blocks.</summary>
    public void Clear()
    {
        _next = _first;
        _recent = _writable;
    }

    /// <summary>The address at which code runs that was written at <paramref name="writable"/>.</summary>
    public byte* Executable(byte* writable) => writable + _delta;

    /// <summary>The address at which to write code that runs at <paramref name="executable"/>.</summary>
    public byte* Writable(byte* executable) => executable - _delta;

    public void Dispose() => _file.Dispose();
}
