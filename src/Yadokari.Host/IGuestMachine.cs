using Yadokari.Boards.Pc;
using Yadokari.Devices.Display;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>A machine that <see cref="RunSession"/> runs once, from power-on to its end.</summary>
internal interface IGuestMachine : IDisposable
{
    /// <summary>Raised after the guest was reset, before it starts again. Handlers run on a thread of the machine and must not block.</summary>
    event Action? Restarted;

    /// <summary>Runs the machine and blocks until it ends. Called once.</summary>
    MachineEnd Run();

    /// <summary>Makes <see cref="Run"/> return soon. Any thread, also before Run.</summary>
    void Stop();

    /// <summary>Whether the machine is paused. Any thread.</summary>
    bool IsPaused { get; }

    /// <summary>Pauses the machine; false if it ends meanwhile. Any thread except the machine's own.</summary>
    bool Pause();

    /// <summary>Resumes the machine. Any thread except the machine's own.</summary>
    void Resume();

    /// <summary>Presses the power button. Any thread.</summary>
    void PressPower();

    /// <summary>Types into the console. Any thread. Returns how many bytes its buffer had room for.</summary>
    int Type(ReadOnlySpan<byte> keys);

    /// <summary>Sets the console's size that the guest sees; no effect on a serial console. Any thread.</summary>
    void Resize(int rows, int columns);

    /// <summary>Calls a device of the machine (<see cref="Machine.Use"/>). Any thread, as far as the device's member allows.</summary>
    TResult Use<T, TResult>(Func<T, TResult> call)
        where T : class;

    /// <summary>Sends make and break codes of scan code set 2 from the keyboard. Any thread.</summary>
    void Press(byte[] stroke);

    /// <summary>Reads the screen; false if the machine has none. Any thread.</summary>
    bool Look(TextFrame frame);

    /// <summary>Counters of engine and devices. Any thread, until the machine is disposed of. While it runs, the values are not read at the same instant.</summary>
    IEnumerable<(string Group, string Name, double Value, string Unit)> Statistics { get; }
}
