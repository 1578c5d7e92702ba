using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>
/// A terminal in raw mode: keys arrive one by one, without echo, and no key sends a signal. <see cref="Restore"/>, which may be called from any
/// thread and any number of times, restores the previous mode.
/// </summary>
/// <remarks>ioctl_tty(2); the layout is <c>struct termios</c> of Linux 6.1, include/uapi/asm-generic/termbits.h.</remarks>
public sealed partial class Terminal : IDisposable
{
    private readonly Lock _lock = new();
    private readonly int _descriptor;
    private readonly TerminalSettings _before;
    private readonly TerminalSettings _raw;
    private bool _isRaw;

    private Terminal(int descriptor, TerminalSettings before)
    {
        _descriptor = descriptor;
        _before = before;
        _raw = before.ToRaw();
        SetRaw();
    }

    /// <summary>Whether a file descriptor is a terminal.</summary>
    public static bool IsTerminal(int descriptor) => GetAttributes(descriptor, TcGets, out _) == 0;

    /// <summary>Puts a terminal into raw mode. Null if the descriptor is not a terminal.</summary>
    public static Terminal? TryOpenRaw(int descriptor) =>
        GetAttributes(descriptor, TcGets, out TerminalSettings before) == 0 ? new Terminal(descriptor, before) : null;

    /// <summary>Rows and columns. Null if the descriptor is not a terminal, or its size is unknown.</summary>
    public static (int Rows, int Columns)? Size(int descriptor) =>
        GetWindowSize(descriptor, TiocGWinSz, out WindowSize size) == 0 && size.Rows > 0 && size.Columns > 0 ? (size.Rows, size.Columns) : null;

    /// <summary>Sets raw mode again, after the process was stopped and continued. Does nothing after <see cref="Restore"/>.</summary>
    public void Reapply()
    {
        lock (_lock)
        {
            if (_isRaw)
            {
                SetRaw();
            }
        }
    }

    /// <summary>Restores the terminal's previous mode.</summary>
    public void Restore()
    {
        lock (_lock)
        {
            if (_isRaw)
            {
                _isRaw = false;
                _ = SetAttributes(_descriptor, TcSetsW, in _before);
            }
        }
    }

    /// <inheritdoc cref="Restore"/>
    public void Dispose() => Restore();

    private void SetRaw() => _isRaw = SetAttributes(_descriptor, TcSetsW, in _raw) == 0;

    private const nuint TcGets = 0x5401;
    private const nuint TcSetsW = 0x5403;
    private const nuint TiocGWinSz = 0x5413;

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int GetAttributes(int descriptor, nuint request, out TerminalSettings settings);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int SetAttributes(int descriptor, nuint request, in TerminalSettings settings);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int GetWindowSize(int descriptor, nuint request, out WindowSize size);

    [StructLayout(LayoutKind.Sequential)]
    private struct WindowSize
    {
        public ushort Rows;
        public ushort Columns;
        public ushort WidthInPixels;
        public ushort HeightInPixels;
    }
}

/// <summary>The kernel's <c>struct termios</c>: Linux 6.1, include/uapi/asm-generic/termbits.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TerminalSettings
{
    public uint InputModes;
    public uint OutputModes;
    public uint ControlModes;
    public uint LocalModes;
    public byte Line;
    public ControlCharacters Characters;

    /// <summary>c_cc: NCCS is 19.</summary>
    [System.Runtime.CompilerServices.InlineArray(19)]
    public struct ControlCharacters
    {
        private byte _first;
    }

    /// <summary>Sets the flags of cfmakeraw(3); reads return as soon as there is a byte.</summary>
    public readonly TerminalSettings ToRaw()
    {
        const uint Ignbrk = 0x1, Brkint = 0x2, Parmrk = 0x8, Istrip = 0x20, Inlcr = 0x40, Igncr = 0x80, Icrnl = 0x100, Ixon = 0x400;
        const uint Opost = 0x1;
        const uint Isig = 0x1, Icanon = 0x2, Echo = 0x8, Echonl = 0x40, Iexten = 0x8000;
        const uint Csize = 0x30, Parenb = 0x100, Cs8 = 0x30;
        const int Vtime = 5, Vmin = 6;

        TerminalSettings raw = this;
        raw.InputModes &= ~(Ignbrk | Brkint | Parmrk | Istrip | Inlcr | Igncr | Icrnl | Ixon);
        raw.OutputModes &= ~Opost;
        raw.LocalModes &= ~(Echo | Echonl | Icanon | Isig | Iexten);
        raw.ControlModes = (raw.ControlModes & ~(Csize | Parenb)) | Cs8;
        raw.Characters[Vtime] = 0;
        raw.Characters[Vmin] = 1;
        return raw;
    }
}
