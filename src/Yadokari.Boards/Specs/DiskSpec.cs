using Yadokari.Boards.Pc;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Disks;
using Yadokari.Devices.Virtio;
using Yadokari.Disks;

namespace Yadokari.Boards.Specs;

/// <summary>The bus of a disk.</summary>
public enum DiskBus
{
    /// <summary>virtio over PCI: fast, for systems that have the driver.</summary>
    Virtio,

    /// <summary>IDE: what every system that firmware starts knows; two at most.</summary>
    Ide,
}

/// <summary>A disk and the image that holds it.</summary>
/// <param name="Path">The file.</param>
/// <param name="ReadOnly">Whether it is read-only.</param>
/// <param name="Bus">The bus.</param>
/// <param name="Packed">Whether a virtio disk offers packed virtqueues (VIRTIO_F_RING_PACKED).</param>
/// <param name="Format">The image's format; null to detect it by name and first bytes.</param>
/// <param name="Snapshot">Whether writes go to a temporary overlay, which is discarded when the machine ends.</param>
public sealed record DiskSpec(
    string Path, bool ReadOnly = false, DiskBus Bus = DiskBus.Virtio, bool Packed = false, DiskFormat? Format = null, bool Snapshot = false) : DeviceSpec
{
    /// <summary>The kind.</summary>
    public static DeviceKind<DiskSpec> Disks { get; } = new(new DiskSpec(""), new SpecObject<DiskSpec>(
        new TextMember<DiskSpec>("file", "Path of the image", d => d.Path, Named),
        new FlagMember<DiskSpec>("readOnly", "Not to be written", d => d.ReadOnly, (d, on) => d with { ReadOnly = on }, "ro"),
        new FlagMember<DiskSpec>("snapshot", "The image is only read; what the guest writes is lost when the machine ends", d => d.Snapshot, (d, on) => d with { Snapshot = on }, "snapshot"),
        new ChoiceMember<DiskSpec, DiskFormat>("format", "The image's format; by default found out", [("raw", DiskFormat.Raw), ("qcow2", DiskFormat.Qcow2)], d => d.Format, (d, f) => d with { Format = f }, "format"),
        new ChoiceMember<DiskSpec, DiskBus>("bus", "What it is reached by", [("virtio", DiskBus.Virtio), ("ide", DiskBus.Ide)], d => d.Bus == DiskBus.Virtio ? null : d.Bus, (d, b) => d with { Bus = b }, "bus"),
        new FlagMember<DiskSpec>("packed", "Offers packed queues too", d => d.Packed, (d, on) => d with { Packed = on }, "packed")))
    {
        Name = "disks",
        Option = "--disk",
        Help = "Image of a disk, by virtio or, with firmware, IDE",
        MainShape = "FILE",
        Main = (d, text) => Named(d, WithoutKey(text)),
        Required = ["file"],
    };

    /// <inheritdoc/>
    public override DeviceKind Kind => Disks;

    /// <inheritdoc/>
    public override void Check(DeviceContext context)
    {
        context.CheckCount(PcLayout.MaxDisks, "disks");
        CheckRights(context, ReadOnly, Snapshot);
        if (Bus == DiskBus.Ide && context.Machine.Firmware is null)
        {
            throw context.Error("IDE disks are for machines with firmware", "leave bus ide out, or give {/firmware} too", "bus");
        }

        int ide = context.Machine.Devices.Count(d => d is DiskSpec { Bus: DiskBus.Ide });
        if (ide > 2)
        {
            throw context.Error($"{ide} IDE disks are more than fit beside a CD-ROM drive", "give two at most, others without bus ide", "bus");
        }
    }

    /// <inheritdoc/>
    public override IDisposable Open(DeviceContext context, Action<Exception> failed) => Open();

    /// <summary>Opens the image.</summary>
    /// <exception cref="UserErrorException">It can't be used.</exception>
    public IDisk Open() => Open(DiskImage.Disk, Format);

    /// <inheritdoc/>
    public override void Attach(PcBoard board, DeviceContext context, IDisposable? opened)
    {
        if (Bus == DiskBus.Ide)
        {
            board.Drives.AddDisk((IDisk)opened!);
        }
        else
        {
            board.AddVirtio(new VirtioBlock((IDisk)opened!, context.Number, context.Machine.Cpus, $"disk{context.Number}"), Packed);
        }
    }

    internal IDisk Open(string what, DiskFormat? format) => Snapshot
        ? DiskImage.OpenSnapshot(Path, format, what)
        : DiskImage.Open(Path, ReadOnly, format, what: what);

    internal static void CheckRights(DeviceContext context, bool readOnly, bool snapshot)
    {
        if (readOnly && snapshot)
        {
            throw context.Error("An image can't be both read-only and a snapshot, which is only read, too", "leave one out", "snapshot");
        }
    }

    internal static string WithoutKey(string text)
    {
        const string key = "path=";
        return text.StartsWith(key, StringComparison.Ordinal) ? text[key.Length..] : text;
    }

    internal static string CheckFile(string path) => path.Length > 0 ? path : throw new ConfigurationException("", "This names no file", "give the path of one");

    private static DiskSpec Named(DiskSpec disk, string path) => disk with { Path = CheckFile(path) };
}
