using Yadokari.Devices.Virtio;
using Yadokari.Disks;
using Yadokari.Fuzz.Tests.Guests;
using Yadokari.Fuzz.Tests.Targets;

namespace Yadokari.Fuzz.Tests;

/// <summary>
/// Every virtio device survives whatever a guest does to it: nothing is thrown on any thread, no memory but the guest's is touched, nothing of
/// the host's but what the guest may change, and after a reset a guest that does all right is served.
/// </summary>
public sealed class DeviceTests
{
    // Each device: what it is made of, in a folder of its own, and what its guests must reach.
    private static readonly Dictionary<string, (Func<string, Target> Make, string[] MustReach)> s_targets = new()
    {
        ["block, raw"] = (folder => new BlockTarget(folder, DiskFormat.Raw), ["ok", "error"]),
        ["block, qcow2"] = (folder => new BlockTarget(folder, DiskFormat.Qcow2), ["ok", "error"]),
        ["network"] = (_ => new NetTarget(), ["ok", "error", "received", "sent"]),
        ["network, user"] = (_ => new UserNetworkTarget(), ["ok", "error", "sent", "ARP", "IPv6", "UDP", "ICMP", "TCP connected", "TCP data"]),
        ["share"] = (folder => new FsTarget(folder), ["ok", "error"]),
        ["vsock"] = (folder => new VsockTarget(folder), ["request", "response", "reset", "data"]),
        ["console"] = (_ => new ConsoleTarget(named: false), ["typed", "said"]),
        ["ports"] = (_ => new ConsoleTarget(named: true), ["typed", "said", "message"]),
        ["entropy"] = (_ => new EntropyTarget(), ["done"]),
        ["balloon"] = (_ => new BalloonTarget(), ["done"]),
    };

    private static readonly GuardedMemory s_ram = new();

    public static TheoryData<string> Targets => [.. s_targets.Keys.Where(name => name.Contains(Environment.GetEnvironmentVariable("YADO_FUZZ_TARGET") ?? "", StringComparison.Ordinal))];

    // A device that is added and not named above is found here.
    [Fact]
    public void Every_virtio_device_is_among_them()
    {
        string folder = Directory.CreateTempSubdirectory("yadokari-fuzz-").FullName;
        List<Type> tested = [];
        foreach ((Func<string, Target> make, _) in s_targets.Values)
        {
            using VirtioDevice device = make(Directory.CreateDirectory(Path.Combine(folder, $"{tested.Count}")).FullName).Device;
            tested.Add(device.GetType());
        }

        Directory.Delete(folder, recursive: true);
        Type[] there = [.. typeof(VirtioDevice).Assembly.GetExportedTypes().Where(t => !t.IsAbstract && t.IsSubclassOf(typeof(VirtioDevice)))];
        Assert.NotEmpty(there);
        Assert.Equal([], there.Except(tested).Select(t => t.Name));
    }

    [Theory]
    [MemberData(nameof(Targets))]
    public void Whatever_a_guest_does_the_device_survives(string name)
    {
        (Func<string, Target> make, string[] mustReach) = s_targets[name];
        Fuzzing.Run(name, (random, tally, folder) => Target.Live(make, s_ram, random, tally, folder), [.. mustReach, "guests", "broken", "not broken"]);
    }
}
