using Yadokari.X86.Engines;

namespace Yadokari.Boards;

/// <summary>What the devices of a board ask of the machine. Any thread, with no lock of a device held; all return at once.</summary>
public interface IBoardMachine
{
    /// <summary>How often the guest's vCPUs halted, in all.</summary>
    long Halts { get; }

    /// <summary>The guest powered off.</summary>
    void PowerOff();

    /// <summary>The guest asks for a reset.</summary>
    void RequestReset();

    /// <summary>The guest's kernel panicked, and neither powered off, reset nor halted.</summary>
    void Panicked();

    /// <summary>A test guest ends the machine.</summary>
    /// <param name="code">What it wrote.</param>
    void DebugExit(uint code);

    /// <summary>A thread of a device's met an exception that nothing expected.</summary>
    void Fail(Exception error);
}

/// <summary>A vCPU as a board wires it. Any thread but where a line says otherwise.</summary>
public interface IBoardVcpu
{
    /// <summary>The vCPU.</summary>
    IX86Vcpu Vcpu { get; }

    /// <summary>An interrupt may be there to take.</summary>
    void Notify();

    /// <summary>An INIT message.</summary>
    void Init();

    /// <summary>A start-up message.</summary>
    /// <param name="page">The page at which it begins.</param>
    void StartUp(byte page);

    /// <summary>A non-maskable interrupt.</summary>
    void Nmi();
}
