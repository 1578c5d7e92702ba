using System.Text;
using Yadokari.Boards.Pc;
using Yadokari.Core.Configuration;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;
using Yadokari.Shares;

namespace Yadokari.Boards.Specs;

/// <summary>A folder of the host that the guest can mount, by virtio-fs.</summary>
/// <param name="Source">The folder.</param>
/// <param name="Tag">By which the guest mounts it: by custom the place where it is to appear.</param>
/// <param name="ReadOnly">Not to be changed by the guest.</param>
public sealed record ShareSpec(string Source, string Tag, bool ReadOnly = false) : DeviceSpec
{
    /// <summary>The kind.</summary>
    public static DeviceKind<ShareSpec> Shares { get; } = new(new ShareSpec("", ""), new SpecObject<ShareSpec>(
        new TextMember<ShareSpec>("folder", "The folder", s => s.Source, (s, path) => s with { Source = path }),
        new TextMember<ShareSpec>("place", "Where it appears in the guest; also the tag by which that mounts it", s => s.Tag, (s, place) => s with { Tag = CheckPlace(place) }),
        new FlagMember<ShareSpec>("readOnly", "Not to be changed by the guest", s => s.ReadOnly, (s, on) => s with { ReadOnly = on }, "ro")))
    {
        Name = "shares",
        Option = "--share",
        Help = "Folder of this host to appear at a place in the guest",
        MainShape = "FOLDER:PLACE",
        HasCommas = true,
        Main = TakeFolder,
        Required = ["folder", "place"],
    };

    /// <inheritdoc/>
    public override DeviceKind Kind => Shares;

    /// <inheritdoc/>
    public override void Check(DeviceContext context)
    {
        context.CheckCount(PcLayout.MaxShares, "shared folders");
        if (Tag.Length == 0 || Encoding.UTF8.GetByteCount(Tag) > VirtioFs.MaxTagLength)
        {
            throw context.Error($"'{Tag}' can't be where a shared folder appears, for that has 1 to {VirtioFs.MaxTagLength} bytes", "give a shorter place", "place");
        }

        if (context.Machine.Devices.OfType<ShareSpec>().Take(context.Number).Any(s => s.Tag == Tag))
        {
            throw context.Error($"Two shared folders can't both appear at '{Tag}'", "give each a place of its own", "place");
        }
    }

    /// <inheritdoc/>
    public override IDisposable Open(DeviceContext context, Action<Exception> failed) =>
        FolderShare.Open(Source, ReadOnly, OpenFiles(context.Machine.Devices.OfType<ShareSpec>().Count()));

    /// <inheritdoc/>
    public override void Attach(PcBoard board, DeviceContext context, IDisposable? opened) =>
        board.AddVirtio(new VirtioFs((FolderShare)opened!, context.Number, context.Machine.Cpus, Tag));

    // The share may open half of the files that the process may have open (RLIMIT_NOFILE).
    private static int OpenFiles(int shares) => (int)Math.Clamp(FileTree.MaxOpenFiles / 2 / shares, 16, 1 << 16);

    private static ShareSpec TakeFolder(ShareSpec share, string text)
    {
        int colon = text.LastIndexOf(':'); // A place has none; a folder may.
        return colon > 0 && colon < text.Length - 1
            ? share with { Source = text[..colon], Tag = CheckPlace(text[(colon + 1)..]) }
            : throw new ConfigurationException("", $"'{text}' does not say which folder is to appear where", $"give {Shares.Shape}, as in /home/me/work:/work");
    }

    private static string CheckPlace(string place) => place is ['/', ..] && place.All(c => !char.IsWhiteSpace(c) && !char.IsControl(c) && c is not (',' or '"' or '\\'))
        ? place
        : throw new ConfigurationException("", $"'{place}' is no place in the guest", "give a path that begins with a slash, without spaces, commas and quotes");
}
