using Yadokari.Boards.Pc.Panics;
using Yadokari.Core.Buses;
using Yadokari.Core.Time;
using Yadokari.Devices.Serial;
using Yadokari.Devices.Virtio;

namespace Yadokari.Boards.Pc;

/// <summary>A PC's consoles: the first serial port, a virtio console where asked for, and what finds out from their output that a kernel panicked.</summary>
public sealed class PcConsole
{
    private readonly PanicWatch _panics;
    private readonly Serial16550 _com1;
    private readonly ConsoleInput _input;
    private readonly ConsolePort? _port;

    internal PcConsole(Board board, PcConfig config, IClock clock, IInterruptLine irq, IBoardMachine machine)
    {
        _panics = board.Add(new PanicWatch(config.Console, clock, () => machine.Halts, machine.Panicked));
        board.AddPorts(new PanicPort(_panics.Report), PcLayout.Panic, 1);
        _com1 = board.AddPorts(new Serial16550(irq, _panics), PcLayout.Com1, 8);
        _input = board.Add(new ConsoleInput(_com1, clock));
        _port = config.VirtioConsole ? board.Add(new ConsolePort(_panics)) : null;
        Virtio = _port is null ? null : VirtioConsole.Console(_port);
    }

    /// <summary>What the kernel said when it panicked; null if it did not. Any thread.</summary>
    public string? Panic => _panics.Message;

    /// <summary>The virtio console; null for none.</summary>
    internal VirtioConsole? Virtio { get; }

    /// <summary>
    /// Queues input. Any thread; does not block. Returns how many bytes the buffer had room for.
    /// </summary>
    public int Type(ReadOnlySpan<byte> bytes) => _port?.Receive(bytes) ?? _input.Receive(bytes);

    /// <summary>Tells the guest of the size of its console, in characters, if it can know. Any thread.</summary>
    public void Resize(int rows, int columns) => Virtio?.Resize(rows, columns);

    /// <summary>Where output goes has room again. Any thread, no lock held.</summary>
    public void ResumeOutput()
    {
        _com1.ResumeOutput();
        _port?.ResumeOutput();
    }
}
