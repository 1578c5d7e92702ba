namespace Yadokari.Core.Devices;

/// <summary>
/// An emulated device, as far as its life goes. The board calls <see cref="Reset"/>, <see cref="Pause"/>, <see cref="Resume"/> and
/// <see cref="IDisposable.Dispose"/> with all vCPUs parked outside guest code, one call at a time, on any thread.
/// </summary>
public interface IDevice : IDisposable
{
    /// <summary>What statistics and messages call it, such as <c>com1</c> or <c>virtio-disk0</c>: unique on its board.</summary>
    string Name { get; }

    /// <summary>Puts it into the state after power-on.</summary>
    void Reset();

    /// <summary>
    /// Stops what it does by itself. When this returns, no request is in flight, and until <see cref="Resume"/> the device changes neither guest
    /// memory, nor interrupt lines, nor a register that the guest can read. The machine's clock stands already.
    /// </summary>
    void Pause();

    /// <summary>Goes on after <see cref="Pause"/>. The machine's clock runs again already.</summary>
    void Resume();
}

/// <summary>
/// A device without a life of its own: it acts only inside calls of vCPUs, of other devices of its board, and of alarms of the machine's clock, none of
/// which come while the machine is paused.
/// </summary>
public interface IPassiveDevice : IDevice
{
    /// <inheritdoc/>
    void IDevice.Pause()
    {
    }

    /// <inheritdoc/>
    void IDevice.Resume()
    {
    }

    /// <inheritdoc/>
    void IDisposable.Dispose()
    {
    }
}
