using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Yadokari.Boards.Pc;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Engines;
using Yadokari.Linux;

namespace Yadokari.Boards.Specs;

/// <summary>The specification of a machine by the user: one JSON document, or the options of <c>yado run</c>. Immutable.</summary>
public record MachineSpec
{
    /// <summary>Kinds of devices that a user may ask for, in the order in which boards have them.</summary>
    public static IReadOnlyList<DeviceKind> Kinds { get; } =
        [DiskSpec.Disks, NetworkSpec.Networks, ShareSpec.Shares, VsockSpec.Vsocks, PortSpec.Ports, CdromSpec.Cdroms, FloppySpec.Floppies, TestDeviceSpec.TestDevices];

    private static readonly SpecObject<MachineSpec> s_members = new(
        new TextMember<MachineSpec>("kernel", "bzImage, ELF or Multiboot kernel; by default that of a small Debian guest, which is fetched once", m => m.Kernel, (m, path) => m with { Kernel = DiskSpec.CheckFile(path) }, value: "FILE"),
        new TextMember<MachineSpec>("initrd", "Initial RAM disk", m => m.Initrd, (m, path) => m with { Initrd = DiskSpec.CheckFile(path) }, value: "FILE"),
        new TextsMember<MachineSpec>("modules", "Files for a Multiboot kernel: each a path, in double quotes if it has a blank, and after a blank arguments", m => m.Modules, (m, texts) => m with { Modules = CheckModules(texts) }, "module", "'FILE TEXT'"),
        new TextMember<MachineSpec>("append", "Kernel command line; by default console=ttyS0 (or what the console is), panic=-1, and for the default guest also quiet mitigations=off", m => m.Append, (m, text) => m with { Append = text }),
        new TextMember<MachineSpec>("firmware", "Firmware ROM such as SeaBIOS's bios.bin, which boots a disk or, if there is a kernel too, starts that, a bzImage", m => m.Firmware, (m, path) => m with { Firmware = DiskSpec.CheckFile(path) }, value: "FILE"),
        new TextMember<MachineSpec>("memory", "Guest memory, in K, M or G", m => ByteSize.Show(m.Memory), (m, text) => m with { Memory = ParseMemory(text) }, value: "SIZE", pattern: "^[0-9]+[KMGTkmgt]([iI][bB])?$"),
        new NumberMember<MachineSpec>("cpus", "Processors", 1, PcLayout.MaxCpus, m => m.Cpus, (m, n) => m with { Cpus = (int)n }),
        new TextMember<MachineSpec>("engine", "What runs guest code: translate", m => m.Engine, (m, name) => m with { Engine = name }, value: "NAME"),
        new ChoiceMember<MachineSpec, DirectMode>("direct", "Run user code on the processor itself, in a process of its own: while that is faster, never, or whenever it can be", [("auto", DirectMode.Auto), ("off", DirectMode.Off), ("always", DirectMode.Always)], m => m.Direct, (m, d) => m with { Direct = d }),
        new TextMember<MachineSpec>("console", "Where the serial port goes; virtio: a virtio console on this terminal instead, which follows its size; vga: a text screen and a keyboard; on a terminal, Ctrl-A x ends the machine and Ctrl-A h helps", m => m.ConsoleTo, (m, text) => m with { ConsoleTo = text }, value: "stdio|virtio|vga|FILE|none"));

    /// <summary>The members beside devices, each of which is an option of <c>yado run</c> too.</summary>
    public static IReadOnlyList<SpecMember<MachineSpec>> Members => s_members.Members;

    /// <summary>The least memory in bytes.</summary>
    public const ulong LeastMemory = 4UL << 20;

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

    /// <summary>The kernel command line; null for <see cref="DefaultAppend"/>.</summary>
    public string? Append { get; init; }

    /// <summary>A command line for a kernel of the user's and a serial console. With panic=-1 a panic resets at once, which ends the run.</summary>
    public const string DefaultAppend = SerialConsole + " panic=-1";

    private const string SerialConsole = "console=ttyS0";

    /// <summary>Names the console that the machine has, in a command line for one with a serial port.</summary>
    public string OnConsole(string commandLine) =>
        commandLine.Replace(SerialConsole, ConsoleTo switch { "vga" => "console=tty0", "virtio" => "console=hvc0", _ => SerialConsole }, StringComparison.Ordinal);

    /// <summary>
    /// Path of a firmware ROM, which the processor starts in; with a kernel, it starts that, a bzImage. Null for none, except that a kernel
    /// that needs a BIOS gets SeaBIOS where the host has it installed.
    /// </summary>
    public string? Firmware { get; init; }

    /// <summary>The name of the engine.</summary>
    public string Engine { get; init; } = "translate";

    /// <summary>When user-mode code of the guest runs directly on the processor (direct execution).</summary>
    public DirectMode Direct { get; init; }

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
        if (Memory > HostMemory.Available)
        {
            throw new ConfigurationException("/memory", $"{{/memory}} {ByteSize.Show(Memory)} is more than this host has ({ByteSize.Show(HostMemory.Available)})", "give less, as in {/memory} 512M");
        }

        if (Memory < LeastMemory)
        {
            throw new ConfigurationException("/memory", $"{{/memory}} {ByteSize.Show(Memory)} is too little for a guest", $"give at least {ByteSize.Show(LeastMemory)}, as in {{/memory}} 512M");
        }

        if (Memory % (1 << 20) != 0)
        {
            throw new ConfigurationException("/memory", $"{{/memory}} {Memory} bytes are not a whole number of mebibytes", $"give one, as in {{/memory}} {ByteSize.Show(Memory)}");
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

    private static ulong ParseMemory(string text) =>
        !ByteSize.TryParse(text, out ulong bytes) ? throw new ConfigurationException("", $"'{text}' is not a size", "give a whole number with K, M or G, as in 512M")
        : bytes != 0 && !ByteSize.HasUnit(text) ? throw new ConfigurationException("", $"'{text}' has no unit", $"give {text}M for mebibytes or {text}G for gibibytes")
        : bytes;
}
