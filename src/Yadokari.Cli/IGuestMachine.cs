namespace Yadokari.Cli;

/// <summary>How a machine's run came to its end.</summary>
internal enum MachineEnd
{
    /// <summary>The guest powered off.</summary>
    PowerOff,

    /// <summary>The guest asked for a reset.</summary>
    Reset,

    /// <summary>The processor shut down.</summary>
    TripleFault,

    /// <summary><see cref="IGuestMachine.Stop"/> was called.</summary>
    Stopped,
}

/// <summary>A machine as a run sees it: from power-on to its first end.</summary>
internal interface IGuestMachine : IDisposable
{
    /// <summary>Runs on the calling thread until the end.</summary>
    MachineEnd Run();

    /// <summary>Makes <see cref="Run"/> come back soon. Any thread, also before Run.</summary>
    void Stop();

    /// <summary>Types into the serial port. Any thread; takes all.</summary>
    void Type(ReadOnlySpan<byte> keys);

    /// <summary>What engine and devices did.</summary>
    IEnumerable<(string Group, string Name, double Value, string Unit)> Statistics { get; }
}
