using Yadokari.Devices.Virtio;
using Yadokari.Fuzz.Tests.Guests;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>Random bytes.</summary>
internal sealed class EntropyTarget : Target
{
    public override VirtioDevice Device { get; } = new VirtioEntropy();

    public override Request Make(Random random, int queue) => new(new byte[random.Next(4) == 0 ? random.Next(100) : 0], random.Next(6000));

    public override void Work(Driver driver, Random random) => Assert.Contains(driver.Ask(0, [], 64), b => b != 0);
}
