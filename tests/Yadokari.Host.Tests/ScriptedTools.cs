namespace Yadokari.Host.Tests;

/// <summary>A folder of shell scripts that are found in place of the host's tools.</summary>
/// <param name="path">Of the folder, which is made.</param>
internal sealed class ScriptedTools(string path)
{
    /// <summary>The folder.</summary>
    public string Folder { get; } = Directory.CreateDirectory(path).FullName;

    /// <summary>Puts a tool there, in place of what it was.</summary>
    public void Add(string name, string script)
    {
        string path = Path.Combine(Folder, name);
        File.WriteAllText(path, $"#!/bin/sh\n{script}\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    /// <summary>Puts a tool there that fails, saying so.</summary>
    public void AddFailing(string name, string errors = "") => Add(name, $"/bin/cat >&2 <<'END'\n{errors}\nEND\nexit 100");

    /// <summary>Puts an apt-get there that downloads empty packages: those of a base system, others, and busybox.</summary>
    public void AddDownloads(string[] essential, string[] others) => Add(
        "apt-get",
        $$"""
        case "$*" in
        *--download-only*) for p in {{string.Join(' ', [.. essential, .. others])}}; do : >apt/archives/${p}_7_amd64.deb; done ;;
        *--simulate*) for p in {{string.Join(' ', essential)}}; do echo "Inst $p (7 Debian)"; done ;;
        *download*) : >busybox-static_1_amd64.deb ;;
        esac
        """);

    /// <summary>Puts a dpkg-deb there that gives the archive of what a script makes in an empty folder; the script's arguments name the package.</summary>
    public void AddContents(string script) => Add("dpkg-deb", $"export PATH=/usr/bin:/bin\nd=$(mktemp -d); cd \"$d\"\n{script}\ntar c ./*; rm -r \"$d\"");
}
