using Yadokari.Devices.Virtio;

namespace Yadokari;

public sealed partial class VirtualMachine
{
    /// <summary>Bytes of memory that the guest has at present: what it was given less what it has left to the host.</summary>
    public ulong Memory => _memory - Math.Min((ulong)_machine.Use((VirtioBalloon balloon) => balloon.Actual), _memory);

    /// <summary>
    /// Bytes of memory that the guest is asked to make do with, at most what it was given: so much at the start. It goes along when, and if, its balloon driver
    /// does.
    /// </summary>
    public ulong MemoryTarget
    {
        get => _memory - Math.Min((ulong)_machine.Use((VirtioBalloon balloon) => balloon.Target), _memory);
        set => _machine.Use((VirtioBalloon balloon) => balloon.Target = (long)(_memory - Math.Min(value, _memory)));
    }
}
