using System.Collections;
using Yadokari.Core.Lifetimes;

namespace Yadokari.Core.Devices;

/// <summary>
/// The devices of a board, in the order in which they were added: a device comes after those that it calls, such as its interrupt controller. One
/// thread at a time, with all vCPUs parked.
/// </summary>
public sealed class DeviceTree : IReadOnlyList<IDevice>, IDisposable
{
    private readonly List<IDevice> _devices = [];
    private readonly DisposableStack _owned = new();

    /// <inheritdoc/>
    public int Count => _devices.Count;

    /// <inheritdoc/>
    public IDevice this[int index] => _devices[index];

    /// <summary>Takes ownership of a device, and returns it.</summary>
    /// <exception cref="ArgumentException">Another one has the same name; the device is disposed of.</exception>
    public T Add<T>(T device)
        where T : IDevice
    {
        if (_devices.Exists(d => d.Name == device.Name))
        {
            device.Dispose();
            throw new ArgumentException($"The board has a device called '{device.Name}' already.", nameof(device));
        }

        _devices.Add(_owned.Push(device));
        return device;
    }

    /// <summary>Puts all devices into their state after power-on: what sends interrupts before what takes them.</summary>
    public void Reset()
    {
        for (int i = _devices.Count - 1; i >= 0; i--)
        {
            _devices[i].Reset();
        }
    }

    /// <summary>Pauses all devices, what sends interrupts first.</summary>
    public void Pause()
    {
        for (int i = _devices.Count - 1; i >= 0; i--)
        {
            _devices[i].Pause();
        }
    }

    /// <summary>Resumes all devices, what sends interrupts last.</summary>
    public void Resume()
    {
        foreach (IDevice device in _devices)
        {
            device.Resume();
        }
    }

    /// <summary>Disposes of all devices, the last first, also where one throws.</summary>
    public void Dispose()
    {
        _devices.Clear();
        _owned.Dispose();
    }

    /// <inheritdoc/>
    public IEnumerator<IDevice> GetEnumerator() => _devices.GetEnumerator();

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
