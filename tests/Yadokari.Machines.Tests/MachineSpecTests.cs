using System.Net;
using System.Net.NetworkInformation;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Yadokari.Core.Configuration;
using Yadokari.Core.Engines;
using Yadokari.Disks;
using Yadokari.Networks;

namespace Yadokari.Machines.Tests;

/// <summary>Specifications of machines as documents.</summary>
public sealed class MachineSpecTests
{
    // Everything that can be said, nothing of it as by default.
    private static readonly MachineSpec s_full = new()
    {
        Memory = 3UL << 30,
        Cpus = 4,
        Kernel = "kernel",
        Initrd = "initrd",
        Modules = ["one a b", "\"two words\""],
        Append = "console=ttyS0 \"x y\"",
        Firmware = "bios.bin",
        Engine = "other",
        Direct = DirectMode.Always,
        ConsoleTo = "vga",
        Devices =
        [
            new DiskSpec("a.qcow2", ReadOnly: true, Packed: true, Format: DiskFormat.Qcow2),
            new DiskSpec("b", Bus: DiskBus.Ide, Format: DiskFormat.Raw, Snapshot: true),
            new NetworkSpec { Network = NetworkKind.Tap, Tap = "tap0", Mac = PhysicalAddress.Parse("52-54-00-12-34-56"), Packed = true },
            new NetworkSpec { Network = NetworkKind.Passt, HostLoopback = true, Forwards = [new PortForward(IPAddress.Loopback, 8080, 80), new PortForward(IPAddress.IPv6Any, 53, 53, IsUdp: true)] },
            new ShareSpec("/home/me", "/work", ReadOnly: true),
            new VsockSpec("/tmp/vsock", 77),
            new PortSpec("agent", "/tmp/agent"),
            new CdromSpec("cd.iso"),
            new FloppySpec("floppy", ReadOnly: true, Snapshot: true),
            new TestDeviceSpec(TestDevice.DebugExit, 0x501),
            new TestDeviceSpec(TestDevice.TestMemory),
        ],
    };

    [Fact]
    public void What_is_written_is_read_again()
    {
        Same(s_full, Parse(s_full.ToJson()));
        Same(new MachineSpec(), Parse(new MachineSpec().ToJson()));
    }

    // A new property that is forgotten in the table of members is lost on the way.
    [Fact]
    public void Every_property_is_written()
    {
        foreach (object part in (object[])[s_full, .. s_full.Devices.DistinctBy(d => d.GetType())])
        {
            PropertyInfo[] properties = [.. part.GetType().GetProperties(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly).Where(p => p is { CanWrite: true } && p.Name is not "Devices")];
            int members = part is MachineSpec ? s_full.Document().EnumerateObject().Count(m => MachineSpec.Kinds.All(k => k.Name != m.Name))
                : Kind((DeviceSpec)part)["properties"]!.AsObject().Count;
            Assert.Equal(properties.Length, members);
        }
    }

    [Fact]
    public void The_schema_describes_all_that_is_written()
    {
        JsonObject schema = MachineSpec.Schema();
        foreach (JsonProperty member in s_full.Document().EnumerateObject())
        {
            JsonNode described = schema["properties"]![member.Name]!;
            Assert.NotEqual("", (string)described["description"]!);
            JsonElement[] devices = member.Value.ValueKind == JsonValueKind.Array ? [.. member.Value.EnumerateArray()] : [member.Value];
            JsonNode one = described["items"] ?? described;
            foreach (JsonProperty inner in devices.Where(d => d.ValueKind == JsonValueKind.Object).SelectMany(d => d.EnumerateObject()))
            {
                JsonNode property = one["properties"]![inner.Name]!;
                Assert.NotEqual("", (string)property["description"]!);
                if (property["enum"] is JsonArray words)
                {
                    Assert.Contains(inner.Value.GetString(), words.Select(w => (string)w!));
                }
            }
        }
    }

    [Fact]
    public void Without_networks_there_is_one_and_an_empty_list_is_none()
    {
        Assert.Equal([new NetworkSpec()], Shown(Parse("{}")));
        Assert.Empty(Parse("""{ "networks": [] }""").Devices);
        Same(new MachineSpec { Kernel = "k", Devices = [new NetworkSpec()] }, Parse("""{ "kernel": "k", /* comments */ }"""));
    }

    [Fact]
    public void Devices_are_in_the_order_of_their_kinds() =>
        Assert.Equal(
            ["DiskSpec", "NetworkSpec", "VsockSpec", "CdromSpec"],
            Parse("""{ "cdrom": { "file": "c" }, "vsock": { "socket": "v" }, "disks": [{ "file": "d" }] }""").Devices.Select(d => d.GetType().Name));

    [Theory]
    [InlineData("", "")]
    [InlineData("[]", "")]
    [InlineData("{", "")]
    [InlineData("""{ "kernle": "k" }""", "/kernle")]
    [InlineData("""{ "kernel": "a", "kernel": "b" }""", "/kernel")]
    [InlineData("""{ "kernel": 1 }""", "/kernel")]
    [InlineData("""{ "kernel": "\ud800" }""", "/kernel")]
    [InlineData("""{ "kernel": "a\u0000b" }""", "/kernel")]
    [InlineData("""{ "append": "a\u0000b" }""", "/append")]
    [InlineData("""{ "modules": ["m", "\udc00"] }""", "/modules")]
    [InlineData("""{ "disks": [{ "file": "a\u0000" }] }""", "/disks/0/file")]
    [InlineData("""{ "direct": "\ud800" }""", "/direct")]
    [InlineData("""{ "\ud800": 1 }""", "")]
    [InlineData("""{ "memory": "18446744073709551615T" }""", "/memory")]
    [InlineData("""{ "kernel": "" }""", "/kernel")]
    [InlineData("""{ "kernel": null }""", "/kernel")]
    [InlineData("""{ "memory": 512 }""", "/memory")]
    [InlineData("""{ "memory": "512" }""", "/memory")]
    [InlineData("""{ "memory": "-1M" }""", "/memory")]
    [InlineData("""{ "memory": "99999999999999999999M" }""", "/memory")]
    [InlineData("""{ "cpus": 0 }""", "/cpus")]
    [InlineData("""{ "cpus": 1.5 }""", "/cpus")]
    [InlineData("""{ "cpus": "1" }""", "/cpus")]
    [InlineData("""{ "direct": "never" }""", "/direct")]
    [InlineData("""{ "modules": "m" }""", "/modules")]
    [InlineData("""{ "modules": ["\"x"] }""", "/modules")]
    [InlineData("""{ "disks": { "file": "d" } }""", "/disks")]
    [InlineData("""{ "disks": ["d"] }""", "/disks/0")]
    [InlineData("""{ "disks": [{}] }""", "/disks/0")]
    [InlineData("""{ "disks": [{ "file": "a" }, { "file": "b", "bus": "scsi" }] }""", "/disks/1/bus")]
    [InlineData("""{ "disks": [{ "file": "a", "readOnly": "yes" }] }""", "/disks/0/readOnly")]
    [InlineData("""{ "disks": [{ "file": "a", "a/b~c": 1 }] }""", "/disks/0/a~1b~0c")]
    [InlineData("""{ "vsock": { "socket": "s", "cid": 2 } }""", "/vsock/cid")]
    [InlineData("""{ "vsock": [] }""", "/vsock")]
    [InlineData("""{ "networks": [{ "mac": "zz" }] }""", "/networks/0/mac")]
    [InlineData("""{ "networks": [{ "publish": ["80"] }] }""", "/networks/0/publish")]
    [InlineData("""{ "testDevices": [{ "name": "debug-exit", "port": 65536 }] }""", "/testDevices/0/port")]
    public void What_can_not_be_is_named(string json, string field)
    {
        var error = Assert.Throws<ConfigurationException>(() => Parse(json));
        Assert.Equal(field, error.Field);
        Assert.EndsWith(".", error.Message);
        Assert.Contains(": ", error.Message);
        Assert.DoesNotContain("{", error.Remedy);
    }

    [Theory]
    [InlineData("""{ "disks": [{ "file": "a", "bus": "ide" }] }""", "/disks/0/bus")]
    [InlineData("""{ "disks": [{ "file": "a", "readOnly": true, "snapshot": true }] }""", "/disks/0/snapshot")]
    [InlineData("""{ "cdrom": { "file": "a" } }""", "/cdrom")]
    [InlineData("""{ "firmware": "f", "append": "x" }""", "/firmware")]
    [InlineData("""{ "append": "a\nb" }""", "/append")]
    [InlineData("""{ "memory": "1M" }""", "/memory")]
    [InlineData("""{ "shares": [{ "folder": "a", "place": "/a" }, { "folder": "b", "place": "/a" }] }""", "/shares/1/place")]
    [InlineData("""{ "ports": [{ "name": "a", "socket": "1" }, { "name": "a", "socket": "2" }] }""", "/ports/1/name")]
    [InlineData("""{ "ports": [{ "name": "", "socket": "1" }] }""", "/ports/0/name")]
    [InlineData("""{ "networks": [{}, {}, {}, {}] }""", "/networks")]
    [InlineData("""{ "networks": [{ "mac": "52:59:41:44:4f:10" }, {}] }""", "/networks/1/mac")]
    [InlineData("""{ "networks": [{ "kind": "tap" }] }""", "/networks/0/tap")]
    [InlineData("""{ "networks": [{ "kind": "tap", "tap": "t", "publish": ["1:2"] }] }""", "/networks/0/publish")]
    [InlineData("""{ "testDevices": [{ "name": "test-memory", "port": 1 }] }""", "/testDevices/0/port")]
    [InlineData("""{ "testDevices": [{ "name": "test-irq" }, { "name": "test-irq" }] }""", "/testDevices/1/name")]
    public void What_does_not_go_together_is_named(string json, string field) =>
        Assert.Equal(field, Assert.Throws<ConfigurationException>(() => Parse(json).Check()).Field);

    [Fact]
    public void Front_ends_name_fields_in_their_own_way()
    {
        var error = new ConfigurationException("/disks/0/bus", "IDE disks are for machines with firmware", "give {/firmware} too");
        Assert.Equal("IDE disks are for machines with firmware (/disks/0/bus): give /firmware too.", error.Message);
        Assert.Equal("IDE disks are for machines with firmware (BUS): give FIRMWARE too.", error.Describe(field => field.Split('/')[^1].ToUpperInvariant()));
        Assert.Equal("/outer/disks/0/bus", error.Within("/outer").Field);
        Assert.Equal("There are braces {like these}: give none.", new ConfigurationException("", "There are braces {like these}", "give none").Message);
    }

    private static MachineSpec Parse(string json) => MachineSpec.Parse(Encoding.UTF8.GetBytes(json));

    private static JsonNode Kind(DeviceSpec device)
    {
        JsonObject schema = device.Kind.Schema();
        return schema["items"] ?? schema;
    }

    private static DeviceSpec[] Shown(MachineSpec spec) => [.. spec.Devices.Select(d => d is NetworkSpec network ? network with { Forwards = [] } : d)];

    // Lists count by what is in them.
    private static void Same(MachineSpec expected, MachineSpec actual)
    {
        Assert.Equal(Shown(expected).Where(d => d is not NetworkSpec), Shown(actual).Where(d => d is not NetworkSpec));
        Assert.Equal(expected.Modules, actual.Modules);
        Assert.Equal(expected.Devices.OfType<NetworkSpec>().SelectMany(n => n.Forwards), actual.Devices.OfType<NetworkSpec>().SelectMany(n => n.Forwards));
        Assert.Equal(expected, actual with { Devices = expected.Devices, Modules = expected.Modules });
        Assert.Equal(expected.ToJson(), actual.ToJson());
    }
}

file static class MachineSpecJson
{
    /// <summary>What a specification is written as.</summary>
    public static JsonElement Document(this MachineSpec spec) => JsonDocument.Parse(spec.ToJson()).RootElement;
}
