using Yadokari.Boards.Pc;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core.Configuration;
using Yadokari.Core.Disks;
using Yadokari.Disks;

namespace Yadokari.Boards.Specs;

/// <summary>A floppy in its drive, which firmware boots from first: a raw image of up to 2880 KiB.</summary>
/// <param name="Path">The file.</param>
/// <param name="ReadOnly">Not to be written.</param>
/// <param name="Snapshot">Whether writes go to a temporary overlay, which is discarded when the machine ends.</param>
public sealed record FloppySpec(string Path, bool ReadOnly = false, bool Snapshot = false) : DeviceSpec
{
    /// <summary>The kind.</summary>
    public static DeviceKind<FloppySpec> Floppies { get; } = new(new FloppySpec(""), new SpecObject<FloppySpec>(
        new TextMember<FloppySpec>("file", "Path of the image", f => f.Path, (f, path) => f with { Path = DiskSpec.CheckFile(path) }),
        new FlagMember<FloppySpec>("readOnly", "Not to be written", f => f.ReadOnly, (f, on) => f with { ReadOnly = on }, "ro"),
        new FlagMember<FloppySpec>("snapshot", "The image is only read; what the guest writes is lost when the machine ends", f => f.Snapshot, (f, on) => f with { Snapshot = on }, "snapshot")))
    {
        Name = "floppy",
        Option = "--floppy",
        Help = "Raw image of a floppy, which firmware boots from first",
        Repeats = false,
        MainShape = "FILE",
        Main = (f, text) => f with { Path = DiskSpec.CheckFile(DiskSpec.WithoutKey(text)) },
        Required = ["file"],
    };

    /// <inheritdoc/>
    public override DeviceKind Kind => Floppies;

    /// <summary>Opens the image: as raw, whatever it looks like.</summary>
    /// <exception cref="Core.UserErrorException">It can't be used.</exception>
    public IDisk OpenImage() => new DiskSpec(Path, ReadOnly, Snapshot: Snapshot).Open("floppy", DiskFormat.Raw);

    /// <inheritdoc/>
    public override void Check(DeviceContext context) => DiskSpec.CheckRights(context, ReadOnly, Snapshot);

    /// <inheritdoc/>
    public override IDisposable Open(DeviceContext context, Action<Exception> failed) => FloppyMedium.Open(this);

    /// <inheritdoc/>
    public override void Attach(PcBoard board, DeviceContext context, IDisposable? opened) => board.Drives.AddFloppy((FloppyMedium)opened!, board.Machine.Fail);
}
