using Yadokari.Boards.Pc;
using Yadokari.Devices.Display;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>A machine as a run sees it: from power-on to its end.</summary>
internal interface IGuestMachine : IDisposable
{
    /// <summary>The guest was reset and starts again. On a thread of the machine's, which it must not hold up.</summary>
    event Action? Restarted;

    /// <summary>Runs to the end; the calling thread waits. Once only.</summary>
    MachineEnd Run();

    /// <summary>Makes <see cref="Run"/> come back soon. Any thread, also before Run.</summary>
    void Stop();

    /// <summary>Pauses it; false where it ends just now. Any thread but the machine's own.</summary>
    bool Pause();

    /// <summary>Has it go on. Any thread but the machine's own.</summary>
    void Resume();

    /// <summary>Presses the power button. Any thread.</summary>
    void PressPower();

    /// <summary>Types into the console. Any thread. Returns how many keys there was room for.</summary>
    int Type(ReadOnlySpan<byte> keys);

    /// <summary>Tells the guest of its console's size, where it can know. Any thread.</summary>
    void Resize(int rows, int columns);

    /// <summary>Calls a device of the machine's (<see cref="Machine.Use"/>). Any thread, as far as what is called allows.</summary>
    TResult Use<T, TResult>(Func<T, TResult> call)
        where T : class;

    /// <summary>Presses and releases keys of the keyboard: codes of set 2. Any thread.</summary>
    void Press(byte[] stroke);

    /// <summary>Looks at the screen; false where there is none. Any thread.</summary>
    bool Look(TextFrame frame);

    /// <summary>What engine and devices did so far. Any thread, until it is disposed of; while the machine runs, numbers may be a little behind one another.</summary>
    IEnumerable<(string Group, string Name, double Value, string Unit)> Statistics { get; }
}
