using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>A kernel and its initial RAM disk, ready to boot.</summary>
internal readonly record struct GuestFiles(string Kernel, string Initrd);

/// <summary>Keeps the default guest in the user's cache folder.</summary>
/// <param name="root">The cache folder; created when needed.</param>
internal sealed class GuestCache(string root)
{
    private const string Kernel = "vmlinuz";
    private const string Initrd = "initrd.cpio";

    // The folder's name contains a fingerprint of this program's input to the guest, so that a changed init script makes a new guest.
    private readonly CacheFolder _folder = new(root, "debian-" + GuestRoot.Fingerprint, 200, [Kernel, Initrd]);

    /// <summary>The cache in the user's cache folder.</summary>
    public static GuestCache OfUser() => new(CacheFolder.OfUser());

    /// <summary>The folder of the guest's files; may not exist yet.</summary>
    public string Place => _folder.Place;

    /// <summary>The guest; null if its files do not exist or are incomplete.</summary>
    public GuestFiles? TryFind() => _folder.IsWhole() ? In(Place) : null;

    /// <summary>The guest; made first if it does not exist.</summary>
    /// <param name="make">Makes the guest: writes the two files; the folder that it receives is for temporary files.</param>
    /// <exception cref="UserErrorException">The guest can't be made.</exception>
    public GuestFiles FindOrMake(Action<string, GuestFiles> make)
    {
        _folder.FindOrMake((work, whole) => make(work, In(whole)));
        return In(Place);
    }

    private static GuestFiles In(string folder) => new(Path.Combine(folder, Kernel), Path.Combine(folder, Initrd));
}
