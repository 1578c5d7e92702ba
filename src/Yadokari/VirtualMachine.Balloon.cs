using Yadokari.Devices.Virtio;

namespace Yadokari;

public sealed partial class VirtualMachine
{
    /// <summary>Bytes of memory that the guest has at present: the machine's memory less the balloon.</summary>
    public ulong Memory => _memory - Math.Min((ulong)_machine.Use((VirtioBalloon balloon) => balloon.Actual), _memory);

    /// <summary>
    /// The balloon's target: bytes of memory that the guest should have, at most the machine's memory, which is the initial value. The guest's balloon driver, if
    /// it has one, follows in its own time.
    /// </summary>
    public ulong MemoryTarget
    {
        get => _memory - Math.Min((ulong)_machine.Use((VirtioBalloon balloon) => balloon.Target), _memory);
        set => _machine.Use((VirtioBalloon balloon) => balloon.Target = (long)(_memory - Math.Min(value, _memory)));
    }
}
