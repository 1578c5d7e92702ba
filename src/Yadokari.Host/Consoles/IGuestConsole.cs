using Yadokari.Devices.Serial;

namespace Yadokari.Host.Consoles;

/// <summary>The host's end of the guest's console.</summary>
internal interface IGuestConsole : IConsole, IDisposable
{
    /// <summary>Called when the run begins. A console must not change terminals and files before.</summary>
    void Begin();

    /// <summary>Waits until all output so far is written.</summary>
    void Flush();

    /// <summary>Restores the terminal's mode at once, without waiting for output. Any thread.</summary>
    void Restore();

    /// <summary>The line terminator that the terminal needs during the run.</summary>
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
