using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Yadokari.Boards.Pc;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Linux;

namespace Yadokari.Boards.Specs;

/// <summary>When user-mode code of the guest runs directly on the processor (direct execution).</summary>
public enum DirectRunning
{
    /// <summary>While that is faster.</summary>
    Auto,

    /// <summary>Never.</summary>
    Off,

    /// <summary>Whenever it can be.</summary>
    Always,
}

/// <summary>The specification of a machine by the user: one JSON document, or the options of <c>yado run</c>. Immutable.</summary>
public record MachineSpec
{
    /// <summary>Kinds of devices that a user may ask for, in the order in which boards have them.</summary>
    public static IReadOnlyList<DeviceKind> Kinds { get; } =
        [DiskSpec.Disks, NetworkSpec.Networks, ShareSpec.Shares, VsockSpec.Vsocks, PortSpec.Ports, CdromSpec.Cdroms, FloppySpec.Floppies, TestDeviceSpec.TestDevices];

    private static readonly SpecObject<MachineSpec> s_members = new(
        new TextMember<MachineSpec>("memory", "RAM: a whole number with M or G, as in 512M", m => Size(m.Memory), (m, text) => m with { Memory = ParseSize(text) }, pattern: "^[0-9]+[MG]$"),
        new NumberMember<MachineSpec>("cpus", "Processors", 1, PcLayout.MaxCpus, m => m.Cpus, (m, n) => m with { Cpus = (int)n }),
        new TextMember<MachineSpec>("kernel", "Path of a bzImage, ELF or Multiboot kernel; by default that of the default guest", m => m.Kernel, (m, path) => m with { Kernel = DiskSpec.CheckFile(path) }),
        new TextMember<MachineSpec>("initrd", "Path of an initial RAM disk", m => m.Initrd, (m, path) => m with { Initrd = DiskSpec.CheckFile(path) }),
        new TextsMember<MachineSpec>("modules", "Files for a Multiboot kernel: each a path and, after a blank, arguments", m => m.Modules, (m, texts) => m with { Modules = CheckModules(texts) }),
        new TextMember<MachineSpec>("append", "Kernel command line", m => m.Append, (m, text) => m with { Append = text }),
        new TextMember<MachineSpec>("firmware", "Path of a firmware ROM such as SeaBIOS's bios.bin", m => m.Firmware, (m, path) => m with { Firmware = DiskSpec.CheckFile(path) }),
        new TextMember<MachineSpec>("engine", "What runs guest code: translate", m => m.Engine, (m, name) => m with { Engine = name }),
        new ChoiceMember<MachineSpec, DirectRunning>("direct", "User code runs on the processor itself: while that is faster, never, or whenever it can", [("auto", DirectRunning.Auto), ("off", DirectRunning.Off), ("always", DirectRunning.Always)], m => m.Direct, (m, d) => m with { Direct = d }),
        new TextMember<MachineSpec>("console", "Where the serial port goes: stdio, virtio (a virtio console instead), vga (a screen and a keyboard), none, or a file", m => m.ConsoleTo, (m, text) => m with { ConsoleTo = text }));

    /// <summary>Bytes of RAM, a multiple of a mebibyte.</summary>
    public ulong Memory { get; init; } = 512UL << 20;

    /// <summary>How many vCPUs, from 1 to <see cref="PcLayout.MaxCpus"/>.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Path of the kernel: a bzImage, an uncompressed ELF file or a Multiboot kernel. Null for firmware alone, or the default guest.</summary>
    public string? Kernel { get; init; }

    /// <summary>Path of the initial RAM disk, or null.</summary>
    public string? Initrd { get; init; }

    /// <summary>Files for a Multiboot kernel: each a path and, after a blank, arguments (<see cref="ModuleText.Parse"/>).</summary>
    public IReadOnlyList<string> Modules { get; init; } = [];

    /// <summary>The kernel command line; null for a default.</summary>
    public string? Append { get; init; }

    /// <summary>
    /// Path of a firmware ROM, which the processor starts in; with a kernel, it starts that, a bzImage. Null for none, except that a kernel
    /// that needs a BIOS gets SeaBIOS where the host has it installed.
    /// </summary>
    public string? Firmware { get; init; }

    /// <summary>The name of the engine.</summary>
    public string Engine { get; init; } = "translate";

    /// <summary>When user-mode code of the guest runs directly on the processor (direct execution).</summary>
    public DirectRunning Direct { get; init; }

    /// <summary><c>stdio</c>, <c>virtio</c>, <c>vga</c>, <c>none</c>, or a file.</summary>
    public string ConsoleTo { get; init; } = "stdio";

    /// <summary>The devices, those of a kind in their order.</summary>
    public IReadOnlyList<DeviceSpec> Devices { get; init; } = [];

    /// <summary>Reads one. Where it says nothing of networks, there is one card of the monitor's own network.</summary>
    /// <param name="utf8">JSON.</param>
    /// <exception cref="ConfigurationException">It is none, or has a member or a value that can't be.</exception>
    public static MachineSpec Parse(ReadOnlyMemory<byte> utf8)
    {
        try
        {
            using var document = JsonDocument.Parse(utf8, new JsonDocumentOptions { MaxDepth = 16, CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            return Read(document.RootElement);
        }
        catch (JsonException error)
        {
            throw new ConfigurationException("", $"The specification is no JSON (line {error.LineNumber + 1 ?? 1}, byte {error.BytePositionInLine ?? 0})", "give an object with members such as kernel, memory, disks");
        }
    }

    /// <summary>The same from a part of a document.</summary>
    /// <exception cref="ConfigurationException">As with <see cref="Parse"/>.</exception>
    public static MachineSpec Read(JsonElement json)
    {
        List<DeviceSpec> devices = [];
        bool networks = false;
        MachineSpec spec = s_members.Read(new MachineSpec(), json, given =>
        {
            if (Kinds.FirstOrDefault(k => k.Name == given.Name) is not { } kind)
            {
                return false;
            }

            networks |= kind == NetworkSpec.Networks;
            devices.AddRange(kind.Read(given.Value));
            return true;
        });
        return spec with { Devices = Order(networks ? devices : [.. devices, new NetworkSpec()]) };
    }

    /// <summary>Puts devices in the order of their kinds.</summary>
    public static IReadOnlyList<DeviceSpec> Order(IEnumerable<DeviceSpec> devices) => [.. devices.OrderBy(d => Kinds.TakeWhile(k => k != d.Kind).Count())];

    /// <summary>Writes it, as <see cref="Read"/> takes it.</summary>
    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        s_members.Write(json, this);
        foreach (DeviceKind kind in Kinds)
        {
            DeviceSpec[] devices = [.. Devices.Where(d => d.Kind == kind)];
            if (devices.Length > 0 || kind == NetworkSpec.Networks)
            {
                json.WritePropertyName(kind.Name);
                kind.Write(json, devices);
            }
        }

        json.WriteEndObject();
    }

    /// <summary>As text that a person reads.</summary>
    public string ToJson()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            Write(json);
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    /// <summary>The JSON schema of a specification (2020-12).</summary>
    public static JsonObject Schema()
    {
        JsonObject properties = s_members.Properties();
        foreach (DeviceKind kind in Kinds)
        {
            properties[kind.Name] = kind.Schema();
        }

        return new JsonObject
        {
            ["$schema"] = "https://json-schema.org/draft/2020-12/schema",
            ["title"] = "A machine of Yadokari",
            ["type"] = "object",
            ["additionalProperties"] = false,
            ["properties"] = properties,
        };
    }

    /// <summary>Checks what does not depend on files.</summary>
    /// <exception cref="ConfigurationException">Something can't be.</exception>
    public void Check()
    {
        if (Memory < PcLayout.MinMemory || Memory % (1 << 20) != 0)
        {
            throw new ConfigurationException("/memory", $"Memory of {Memory} bytes is not supported", $"give a multiple of 1 MiB, {PcLayout.MinMemory >> 20}M or more");
        }

        ulong host = (ulong)GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (Memory > host)
        {
            throw new ConfigurationException("/memory", $"A memory of {Memory >> 20} MiB is more than this host's {host >> 20} MiB", "give less");
        }

        if (Cpus is < 1 or > PcLayout.MaxCpus)
        {
            throw new ConfigurationException("/cpus", $"A machine of {Cpus} CPUs is not supported", $"give a number from 1 to {PcLayout.MaxCpus}");
        }

        if (Append?.Contains('\n') == true)
        {
            throw new ConfigurationException("/append", "A kernel command line can't have a line break", "write it on one line");
        }

        if (Firmware is not null && Kernel is null && (Initrd is not null || Append is not null))
        {
            throw new ConfigurationException("/firmware", "{/initrd} and {/append} are for a kernel, and firmware starts without one", "leave them out, or give {/kernel} too");
        }

        if (Firmware is null && Devices.OfType<CdromSpec>().Any())
        {
            throw new ConfigurationException("/cdrom", "A CD is for firmware to boot from", "give {/firmware} too, such as SeaBIOS's bios.bin");
        }

        ForEachDevice((device, context) => device.Check(context));
        CheckImages();
    }

    /// <summary>Calls for each device, with where it stands.</summary>
    internal void ForEachDevice(Action<DeviceSpec, DeviceContext> act)
    {
        Dictionary<DeviceKind, int> numbers = [];
        foreach (DeviceSpec device in Devices)
        {
            int number = numbers.GetValueOrDefault(device.Kind);
            numbers[device.Kind] = number + 1;
            act(device, new DeviceContext(this, device, number));
        }
    }

    // Whether a writable image is named twice: opening it would report that another machine uses it.
    private void CheckImages()
    {
        List<(string Field, string Path, bool Writes)> images = [];
        ForEachDevice((device, context) =>
        {
            (string? path, bool writes) = device switch
            {
                DiskSpec disk => (disk.Path, !disk.ReadOnly && !disk.Snapshot),
                FloppySpec floppy => (floppy.Path, !floppy.ReadOnly && !floppy.Snapshot),
                CdromSpec disc => (disc.Path, false),
                _ => ((string?)null, false),
            };
            if (path is null)
            {
                return;
            }

            if (images.FirstOrDefault(i => (i.Writes || writes) && IsSame(i.Path, path)) is { Field: { } other })
            {
                throw context.Error($"The image '{path}' is named by {{{other}}} too, and what may be written is one drive's alone", "name it once, or give a copy", "file");
            }

            images.Add((context.Field, path, writes));
        });
    }

    // Also by links. What is not there is told of when it is opened.
    private static bool IsSame(string first, string second) =>
        FileStatus.Of(first, out FileStatus one) == 0 && FileStatus.Of(second, out FileStatus other) == 0
        && (one.Device, one.Inode) == (other.Device, other.Inode);

    private static IReadOnlyList<string> CheckModules(IReadOnlyList<string> texts)
    {
        foreach (string text in texts)
        {
            ModuleText.Parse(text);
        }

        return texts;
    }

    private static string Size(ulong bytes) => bytes % (1 << 30) == 0 ? $"{bytes >> 30}G" : $"{bytes >> 20}M";

    private static ulong ParseSize(string text)
    {
        int shift = text is [.., 'G'] ? 30 : text is [.., 'M'] ? 20 : 0;
        return shift > 0 && uint.TryParse(text.AsSpan(0, text.Length - 1), System.Globalization.NumberStyles.None, null, out uint number) && number < 1 << 24
            ? (ulong)number << shift
            : throw new ConfigurationException("", $"'{text}' is not a size", "give a whole number with M or G, as in 512M");
    }
}
