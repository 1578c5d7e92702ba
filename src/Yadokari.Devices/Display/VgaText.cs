using System.Runtime.InteropServices;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Display;

/// <summary>
/// A VGA adapter in text modes (IBM PS/2 hardware interface technical reference, video subsystem; the register names are FreeVGA's). Its
/// registers are ports; its memory is plain RAM at 0xA0000, so that guests write text without an exit, and the display polls it. Planes, fonts
/// and graphics are not emulated: their registers keep what is written and have no effect.
/// </summary>
public sealed class VgaText : IPassiveDevice
{
    /// <summary>The first port.</summary>
    public const ushort FirstPort = 0x3C0;

    /// <summary>How many ports.</summary>
    public const int PortCount = 0x20;

    /// <summary>The first port of those that a monochrome adapter has.</summary>
    public const ushort FirstMonochromePort = 0x3B0;

    /// <summary>How many of them.</summary>
    public const int MonochromePortCount = 0x10;

    // Ports, from the first one.
    private const int AttributeIndex = 0x00;
    private const int AttributeData = 0x01;
    private const int MiscellaneousWrite = 0x02;
    private const int SequencerIndex = 0x04;
    private const int SequencerData = 0x05;
    private const int DacMask = 0x06;
    private const int DacReadIndex = 0x07;
    private const int DacWriteIndex = 0x08;
    private const int DacData = 0x09;
    private const int MiscellaneousRead = 0x0C;
    private const int GraphicsIndex = 0x0E;
    private const int GraphicsData = 0x0F;
    // From here on what is 10h lower for monochrome adapters.
    private const int FirstOfAdapter = 0x10;
    private const int CrtcIndex = 0x14;
    private const int CrtcData = 0x15;
    private const int InputStatus = 0x1A;

    // Of the CRT controller.
    private const int HorizontalDisplayEnd = 0x01;
    private const int Overflow = 0x07;
    private const int MaximumScanLine = 0x09;
    private const int CursorStart = 0x0A;
    private const int StartHigh = 0x0C;
    private const int StartLow = 0x0D;
    private const int CursorHigh = 0x0E;
    private const int CursorLow = 0x0F;
    private const int VerticalDisplayEnd = 0x12;
    private const int Offset = 0x13;

    private const int GraphicsMiscellaneous = 0x06;

    private const byte ColourAddresses = 0x01; // Of the miscellaneous output register.

    // What a video BIOS sets for mode 3: 80 columns, 25 rows, 16 colours, at 0xB8000.
    private static readonly byte[] s_crtc = [0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF];
    private static readonly byte[] s_sequencer = [0x03, 0x00, 0x03, 0x00, 0x02];
    private static readonly byte[] s_graphics = [0, 0, 0, 0, 0, 0x10, 0x0E, 0, 0xFF];
    private static readonly byte[] s_attribute = [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C, 0x00, 0x0F, 0x08, 0x00];

    private readonly GuestMemory _memory;
    private readonly Lock _lock = new(); // Innermost.
    private readonly byte[] _crtc = new byte[0x40];
    private readonly byte[] _sequencer = new byte[8];
    private readonly byte[] _graphics = new byte[16];
    private readonly byte[] _attribute = new byte[32];
    private readonly byte[] _dac = new byte[3 * 256];
    private int _crtcIndex;
    private int _sequencerIndex;
    private int _graphicsIndex;
    private int _attributeIndex;
    private bool _attributeHasIndex;
    private int _dacRead;
    private int _dacWrite;
    private byte _dacMask;
    private byte _miscellaneous;
    private byte _status;

    /// <summary>Makes it in mode 3, as a video BIOS leaves it.</summary>
    /// <param name="memory">Holds the text; RAM from 0xA0000 to 0xBFFFF.</param>
    public VgaText(GuestMemory memory)
    {
        _memory = memory;
        Ports = new BytePorts(PortCount, port => Read(port, monochrome: false), (port, value) => Write(port, value, monochrome: false));
        MonochromePorts = new BytePorts(
            MonochromePortCount, port => Read(port + FirstOfAdapter, monochrome: true), (port, value) => Write(port + FirstOfAdapter, value, monochrome: true));
        Reset();
    }

    /// <summary>The registers, at <see cref="FirstPort"/>.</summary>
    public IBusDevice Ports { get; }

    /// <summary>The CRT controller and the input status, at <see cref="FirstMonochromePort"/>, while the miscellaneous output register says so; else nothing.</summary>
    public IBusDevice MonochromePorts { get; }

    /// <inheritdoc/>
    public string Name => "vga";

    /// <summary>Mode 3 again. The text stays.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            Set(_crtc, s_crtc);
            Set(_sequencer, s_sequencer);
            Set(_graphics, s_graphics);
            Set(_attribute, s_attribute);
            Array.Clear(_dac);
            _crtcIndex = _sequencerIndex = _graphicsIndex = _attributeIndex = _dacRead = _dacWrite = 0;
            _attributeHasIndex = false;
            _dacMask = 0xFF;
            _miscellaneous = 0x67;
            _status = 0;
        }

        static void Set(byte[] registers, byte[] values)
        {
            Array.Clear(registers);
            values.CopyTo(registers, 0);
        }
    }

    /// <summary>Takes a snapshot of the screen. Any thread, at any time; a write of the guest in progress may be visible in part.</summary>
    /// <param name="frame">Receives the snapshot.</param>
    public void Look(TextFrame frame)
    {
        ulong start;
        int pitch;
        int cursor;
        lock (_lock)
        {
            frame.Graphics = (_graphics[GraphicsMiscellaneous] & 1) != 0;
            frame.Columns = Math.Min(_crtc[HorizontalDisplayEnd] + 1, TextFrame.MaxColumns);
            int lines = (_crtc[VerticalDisplayEnd] | ((_crtc[Overflow] & 0x02) << 7) | ((_crtc[Overflow] & 0x40) << 3)) + 1;
            frame.Rows = Math.Clamp(lines / ((_crtc[MaximumScanLine] & 0x1F) + 1), 1, TextFrame.MaxRows);
            int first = (_crtc[StartHigh] << 8) | _crtc[StartLow];
            pitch = _crtc[Offset] * 2;
            cursor = ((_crtc[CursorHigh] << 8) | _crtc[CursorLow]) - first;
            cursor = (_crtc[CursorStart] & 0x20) != 0 || pitch == 0 || cursor < 0 || cursor % pitch >= frame.Columns || cursor / pitch >= frame.Rows
                ? -1 : (cursor / pitch * frame.Columns) + (cursor % pitch);

            // Where the window is that text is written through: at 0xB0000 for monochrome adapters, else at 0xB8000.
            start = ((_graphics[GraphicsMiscellaneous] >> 2) & 3) == 2 ? 0xB0000u : 0xB8000u;
            start += (ulong)(first * 2) & 0x7FFF;
        }

        frame.Cursor = cursor;
        for (int row = 0; row < frame.Rows; row++)
        {
            // The window is 32 KiB: what would lie beyond is not there.
            ulong at = start + (ulong)(row * pitch * 2);
            Span<ushort> cells = frame.Row(row);
            if (at + (ulong)(cells.Length * 2) > 0xC0000)
            {
                cells.Clear();
                continue;
            }

            _memory.Read(at, MemoryMarshal.AsBytes(cells));
        }
    }

    // Whether the CRT controller and the input status are at the other of the two addresses.
    private bool IsElsewhere(int port, bool monochrome) => port >= FirstOfAdapter && ((_miscellaneous & ColourAddresses) == 0) != monochrome;

    private byte Read(int port, bool monochrome)
    {
        lock (_lock)
        {
            if (IsElsewhere(port, monochrome))
            {
                return byte.MaxValue;
            }

            switch (port)
            {
                case AttributeIndex:
                    return (byte)_attributeIndex;
                case AttributeData:
                    return _attribute[_attributeIndex & 0x1F];
                case SequencerIndex:
                    return (byte)_sequencerIndex;
                case SequencerData:
                    return _sequencer[_sequencerIndex & 7];
                case DacMask:
                    return _dacMask;
                case DacWriteIndex:
                    return (byte)(_dacWrite / 3);
                case DacData:
                    byte component = _dac[_dacRead];
                    _dacRead = (_dacRead + 1) % _dac.Length;
                    return component;
                case MiscellaneousRead:
                    return _miscellaneous;
                case GraphicsIndex:
                    return (byte)_graphicsIndex;
                case GraphicsData:
                    return _graphics[_graphicsIndex & 15];
                case CrtcIndex:
                    return (byte)_crtcIndex;
                case CrtcData:
                    return _crtc[_crtcIndex & 0x3F];
                case InputStatus:
                    // Guests poll the retrace bits: each read toggles them.
                    _attributeHasIndex = false;
                    _status ^= 0x09;
                    return _status;
                default:
                    return port == MiscellaneousWrite ? (byte)0x10 : byte.MaxValue; // Input status 0: a colour display is plugged in.
            }
        }
    }

    private void Write(int port, byte value, bool monochrome)
    {
        lock (_lock)
        {
            if (IsElsewhere(port, monochrome))
            {
                return;
            }

            switch (port)
            {
                case AttributeIndex when !_attributeHasIndex:
                    _attributeIndex = value;
                    _attributeHasIndex = true;
                    break;
                case AttributeIndex:
                    _attribute[_attributeIndex & 0x1F] = value;
                    _attributeHasIndex = false;
                    break;
                case MiscellaneousWrite:
                    _miscellaneous = value;
                    break;
                case SequencerIndex:
                    _sequencerIndex = value;
                    break;
                case SequencerData:
                    _sequencer[_sequencerIndex & 7] = value;
                    break;
                case DacMask:
                    _dacMask = value;
                    break;
                case DacReadIndex:
                    _dacRead = value * 3;
                    break;
                case DacWriteIndex:
                    _dacWrite = value * 3;
                    break;
                case DacData:
                    _dac[_dacWrite] = value;
                    _dacWrite = (_dacWrite + 1) % _dac.Length;
                    break;
                case GraphicsIndex:
                    _graphicsIndex = value;
                    break;
                case GraphicsData:
                    _graphics[_graphicsIndex & 15] = value;
                    break;
                case CrtcIndex:
                    _crtcIndex = value;
                    break;
                case CrtcData:
                    _crtc[_crtcIndex & 0x3F] = value;
                    break;
            }
        }
    }
}
