using Yadokari.Devices.Serial;

namespace Yadokari.Host.Consoles;

/// <summary>Where the guest's serial port goes.</summary>
internal interface IGuestConsole : IConsole, IDisposable
{
    /// <summary>The run begins: only now may terminals and files change.</summary>
    void Begin();

    /// <summary>Waits until all output so far is out.</summary>
    void Flush();

    /// <summary>Gives the terminal back at once, without waiting for output. Any thread.</summary>
    void Restore();

    /// <summary>What ends a line on the terminal while the run lasts.</summary>
    string LineEnd { get; }
}

/// <summary>No console.</summary>
internal sealed class SilentConsole : IGuestConsole
{
    /// <inheritdoc/>
    public string LineEnd => "\n";

    /// <inheritdoc/>
    public void Begin()
    {
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes)
    {
    }

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public void Restore()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
