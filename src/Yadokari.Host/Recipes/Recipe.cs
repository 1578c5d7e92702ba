using System.Security.Cryptography;
using System.Text;
using Yadokari.Core;
using Yadokari.Host.Instances;
using YamlDotNet.RepresentationModel;

namespace Yadokari.Host.Recipes;

/// <summary>Describes a Debian system to install into an image.</summary>
public sealed record Recipe
{
    private const string Remedy = "a recipe has suite, mirror, packages, kernel and size";

    // About the packages of Debian's cloud images: sshd, cloud-init, networking and basic tools.
    private static readonly string[] s_base =
    [
        "?essential", "?priority(required)", "apt", "apt-utils", "bash-completion", "ca-certificates", "cloud-guest-utils", "cloud-init", "cron", "curl",
        "dbus", "debian-archive-keyring", "e2fsprogs", "fdisk", "gpgv", "ifupdown-", "init", "initramfs-tools", "iproute2", "iputils-ping", "kmod", "less", "libnss-myhostname",
        "libnss-resolve", "libpam-systemd", "locales", "logrotate", "nano", "netbase", "netcat-openbsd", "netplan.io", "openssh-server", "procps", "python3",
        "socat", "sudo", "systemd", "systemd-resolved", "systemd-sysv", "systemd-timesyncd", "tzdata", "udev", "vim-tiny", "wget", "zstd",
    ];

    private static readonly Dictionary<string, string> s_kernels = new(StringComparer.Ordinal)
    {
        ["cloud"] = "linux-image-cloud-amd64",
        ["generic"] = "linux-image-amd64",
    };

    /// <summary>The default name of machines made from the recipe.</summary>
    public required string Name { get; init; }

    /// <summary>Debian's release, by its code name.</summary>
    public string Suite { get; init; } = "bookworm";

    /// <summary>URL of the archive.</summary>
    public string Mirror { get; init; } = "http://deb.debian.org/debian";

    /// <summary>Packages in addition to those of every recipe.</summary>
    public IReadOnlyList<string> Packages { get; init; } = [];

    /// <summary><c>cloud</c>, or <c>generic</c> with more drivers.</summary>
    public string Kernel { get; init; } = "cloud";

    /// <summary>Default size of a machine's disk in bytes.</summary>
    public long Size { get; init; } = 8L << 30;

    /// <summary>The names of all packages.</summary>
    public IEnumerable<string> AllPackages => [.. s_base, s_kernels[Kernel], .. Packages];

    /// <summary>apt's sources, also of the installed system. Debian's development releases have no updates.</summary>
    public IEnumerable<string> Sources => Suite is "sid" or "unstable"
        ? [$"{Mirror} {Suite} main"]
        : [$"{Mirror} {Suite} main", $"{Mirror} {Suite}-updates main", $"http://deb.debian.org/debian-security {Suite}-security main"];

    /// <summary>A hash of an image's inputs and of how it is made.</summary>
    public string Fingerprint => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(
        string.Join('\n', [.. Sources, .. AllPackages, $"{Size}", InstallerRoot.Init]))))[..12];

    /// <summary>Finds a recipe by name: a built-in one, or a file.</summary>
    /// <exception cref="UserErrorException">There is no such recipe, or it is not valid.</exception>
    public static Recipe Find(string name)
    {
        if (name == "debian")
        {
            return new Recipe { Name = "debian" };
        }

        string text;
        try
        {
            text = File.ReadAllText(name);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UserErrorException($"'{name}' is no recipe: give debian, or a file with a recipe in YAML or JSON.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"The recipe '{name}' can't be read ({error.Message.TrimEnd('.')}): give debian, or a file with a recipe in YAML or JSON.");
        }

        return Parse(name, text);
    }

    /// <summary>Parses a recipe in YAML, which includes JSON.</summary>
    /// <param name="path">Path of the file, for messages.</param>
    /// <param name="text">Content of the file.</param>
    /// <exception cref="UserErrorException">The text is not a valid recipe.</exception>
    public static Recipe Parse(string path, string text)
    {
        UserErrorException Bad(string what) => new($"The recipe '{path}' {what}: {Remedy}.");

        if (YamlText.Read(text, (line, reason) => Bad($"is no YAML (line {line}: {reason})")) is not YamlMappingNode members)
        {
            throw Bad("holds no members");
        }

        string stem = MachineName.From(Path.GetFileNameWithoutExtension(path));
        var recipe = new Recipe { Name = stem };
        foreach ((YamlNode key, YamlNode value) in members)
        {
            string name = key is YamlScalarNode { Value: { } word } ? word : throw Bad("has a member without a name");
            string Scalar() => value is YamlScalarNode { Value: { Length: > 0 } scalar } ? scalar : throw Bad($"gives {name} no value");
            recipe = name switch
            {
                "suite" => recipe with { Suite = Word(Scalar(), name) },
                "mirror" => recipe with { Mirror = CheckMirror(Scalar()) },
                "packages" => recipe with { Packages = value is YamlSequenceNode list ? [.. list.Select(n => n is YamlScalarNode { Value: { } p } ? Word(p, name) : throw Bad("lists a package that is no name"))] : throw Bad("has packages that are no list") },
                "kernel" => recipe with { Kernel = s_kernels.ContainsKey(Scalar()) ? Scalar() : throw new UserErrorException($"The recipe '{path}' has a kernel '{Scalar()}' that is not known: give {string.Join(" or ", s_kernels.Keys)}.") },
                "size" => recipe with { Size = DiskSize.Parse("size", Scalar()) },
                _ => throw Bad($"has a member '{name}' that is not known"),
            };
        }

        return recipe;

        string Word(string word, string member) => word.Length > 0 && word.All(c => char.IsAsciiLetterOrDigit(c) || "+-._:".Contains(c, StringComparison.Ordinal))
            ? word
            : throw new UserErrorException($"The recipe '{path}' has '{word}' in {member}, which is not a valid name: use Debian's name for it.");

        string CheckMirror(string mirror) => Uri.TryCreate(mirror, UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https" && !mirror.Any(char.IsWhiteSpace)
            ? mirror.TrimEnd('/')
            : throw new UserErrorException($"The recipe '{path}' has a mirror '{mirror}' that is no address: give one with http, as in http://deb.debian.org/debian.");
    }
}
