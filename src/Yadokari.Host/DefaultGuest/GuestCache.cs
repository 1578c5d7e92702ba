using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>A kernel and its initial RAM disk, ready to boot.</summary>
internal readonly record struct GuestFiles(string Kernel, string Initrd);

/// <summary>Keeps the default guest in the user's cache folder.</summary>
/// <param name="root">The folder, made when needed.</param>
internal sealed class GuestCache(string root)
{
    private const string Kernel = "vmlinuz";
    private const string Initrd = "initrd.cpio";

    // The guest's place carries the fingerprint of what goes into it from here, so a new init script makes a new guest.
    private readonly CacheFolder _folder = new(root, "debian-" + GuestRoot.Fingerprint, 200, [Kernel, Initrd]);

    /// <summary>The user's.</summary>
    public static GuestCache OfUser() => new(CacheFolder.OfUser());

    /// <summary>The folder that a whole guest is in, or will be.</summary>
    public string Place => _folder.Place;

    /// <summary>The guest, if it is there and whole.</summary>
    public GuestFiles? TryFind() => _folder.IsWhole() ? In(Place) : null;

    /// <summary>The guest, made first if need be.</summary>
    /// <param name="make">Makes it: writes the two files, and whatever else it needs on the way, into the folder that it is given.</param>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public GuestFiles FindOrMake(Action<string, GuestFiles> make)
    {
        _folder.FindOrMake((work, whole) => make(work, In(whole)));
        return In(Place);
    }

    private static GuestFiles In(string folder) => new(Path.Combine(folder, Kernel), Path.Combine(folder, Initrd));
}
