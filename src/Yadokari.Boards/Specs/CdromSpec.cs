using Yadokari.Boards.Pc;
using Yadokari.Core.Configuration;
using Yadokari.Core.Disks;
using Yadokari.Devices.Storage;
using Yadokari.Disks;

namespace Yadokari.Boards.Specs;

/// <summary>A CD in its drive.</summary>
/// <param name="Path">The image's file.</param>
public sealed record CdromSpec(string Path) : DeviceSpec
{
    /// <summary>The kind.</summary>
    public static DeviceKind<CdromSpec> Cdroms { get; } = new(new CdromSpec(""), new SpecObject<CdromSpec>(
        new TextMember<CdromSpec>("file", "Path of the image", c => c.Path, Named)))
    {
        Name = "cdrom",
        Option = "--cdrom",
        Help = "Image of a CD for the firmware to boot from",
        Repeats = false,
        MainShape = "FILE",
        HasCommas = true,
        Main = Named,
        Required = ["file"],
    };

    /// <inheritdoc/>
    public override DeviceKind Kind => Cdroms;

    /// <inheritdoc/>
    public override IDisposable Open(DeviceContext context, Action<Exception> failed) => RawDisk.Open(Path, readOnly: true, AtapiCdrom.Block, "CD image");

    /// <inheritdoc/>
    public override void Attach(PcBoard board, DeviceContext context, IDisposable? opened) => board.Drives.Cdrom = (IDisk)opened!;

    private static CdromSpec Named(CdromSpec disc, string path) => disc with { Path = DiskSpec.CheckFile(path) };
}
