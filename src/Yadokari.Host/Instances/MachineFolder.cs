using System.Text.Json;
using Yadokari.Core;
using Yadokari.Host.DefaultGuest;
using Yadokari.Linux;

namespace Yadokari.Host.Instances;

/// <summary>
/// A named machine on the host: a folder below <c>$XDG_DATA_HOME/yadokari/machines</c>. It is there once <c>machine.json</c> is, which is
/// written last; it runs while somebody holds its lock, which the kernel takes back however a monitor ends.
/// </summary>
public sealed class MachineFolder
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private const int LongestLook = 500; // Milliseconds: one that looks whether the machine runs has the lock for a moment.

    /// <summary>The machine in a folder, which need not be there.</summary>
    internal MachineFolder(string path) => Path = path;

    /// <summary>The user's folder for what belongs to all machines.</summary>
    public static string DataFolder => CacheFolder.UserFolder("XDG_DATA_HOME", ".local/share");

    private static string Root => System.IO.Path.Combine(DataFolder, "machines");

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>The machine's name.</summary>
    public string Name => System.IO.Path.GetFileName(Path);

    /// <summary>Its system's kernel.</summary>
    public string Kernel => In("vmlinuz");

    /// <summary>Its system's initial RAM disk.</summary>
    public string Initrd => In("initrd.img");

    /// <summary>Its disk.</summary>
    public string Disk => In("disk.raw");

    /// <summary>The volume that cloud-init reads.</summary>
    public string Seed => In("seed.iso");

    /// <summary>What its console has shown, over all runs.</summary>
    public string Log => In("console.log");

    /// <summary>What its monitor in the background had to say.</summary>
    public string MonitorLog => In("monitor.log");

    /// <summary>The socket by which a monitor takes requests.</summary>
    public string Control => In("control");

    /// <summary>The keys by which the guest was known.</summary>
    public string KnownHosts => In("known_hosts");

    /// <summary>The socket by which programs share a connection to its sshd, which a port of the host's leads to.</summary>
    public string SshControl(int port) => In($"ssh-{port}");

    /// <summary>Whether there is such a machine.</summary>
    public bool Exists => File.Exists(In("machine.json"));

    /// <summary>All machines, by name.</summary>
    public static IEnumerable<MachineFolder> All() => Directory.Exists(Root)
        ? Directory.EnumerateDirectories(Root).Order(StringComparer.Ordinal).Select(p => new MachineFolder(p)).Where(m => m.Exists)
        : [];

    /// <summary>The folder of a machine that may be there or not.</summary>
    public static MachineFolder Of(string name) => new(System.IO.Path.Combine(Root, MachineName.Check(name)));

    /// <summary>A machine that is there.</summary>
    /// <exception cref="UserErrorException">It is not.</exception>
    public static MachineFolder Find(string name)
    {
        MachineFolder folder = Of(name);
        if (folder.Exists)
        {
            return folder;
        }

        string[] all = [.. All().Select(m => m.Name)];
        string[] near = MachineName.Near(name, all);
        string remedy = near.Length > 0 ? $"there is {string.Join(", ", near)}"
            : all.Length > 0 ? "'yado ls' lists those that there are"
            : "there is none yet; 'yado run debian' makes one";
        throw new UserErrorException($"There is no machine {name}: {remedy}.");
    }

    /// <summary>A name that no machine has: <paramref name="stem"/>, or with a number.</summary>
    public static MachineFolder Free(string stem)
    {
        for (int number = 1; ; number++)
        {
            MachineFolder folder = Of(number == 1 ? stem : $"{stem}-{number}");
            if (!Directory.Exists(folder.Path))
            {
                return folder;
            }
        }
    }

    /// <summary>Takes the machine for as long as the stream lives; null where somebody has it. Makes the folder.</summary>
    /// <exception cref="UserErrorException">The folder can't be written.</exception>
    public FileStream? TryLock()
    {
        try
        {
            long began = Environment.TickCount64;
            while (true)
            {
                Directory.CreateDirectory(Path, OwnerOnly);
                FileStream? file = TryOpenLock(FileMode.OpenOrCreate, out _);
                if (file is not null && IsInPlace(file))
                {
                    return file;
                }

                // Not in place: removed together with the machine meanwhile, and perhaps made anew by another. Taken: perhaps only by one that
                // just looks whether the machine runs.
                file?.Dispose();
                if (Environment.TickCount64 - began > LongestLook)
                {
                    return null;
                }

                Thread.Sleep(5);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"The folder of machines {Root} can't be written ({error.Message.TrimEnd('.')}): set XDG_DATA_HOME to a folder that can.");
        }
    }

    /// <summary>Whether it runs.</summary>
    public bool IsRunning()
    {
        // Two that only look don't take one another for the machine.
        using FileStream? file = TryOpenLock(FileMode.Open, out bool isTaken, FileAccess.Read, FileShare.Read);
        return isTaken;
    }

    /// <summary>What it was made with.</summary>
    /// <exception cref="UserErrorException">The file is damaged.</exception>
    public MachineConfig ReadConfig()
    {
        try
        {
            return MachineConfig.Parse(File.ReadAllText(In("machine.json")));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new UserErrorException($"The machine {Name} can't be used, for {In("machine.json")} is damaged: 'yado rm {Name}' removes it.");
        }
    }

    /// <summary>Says what it is made with. From here on there is the machine.</summary>
    public void WriteConfig(MachineConfig config) => Replace("machine.json", config.ToJson());

    /// <summary>What is known of its run; null where it does not run, or just starts or ends.</summary>
    public MachineProcess? ReadProcess()
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllText(In("run.json")), MachineJson.Default.MachineProcess);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    /// <summary>Says what is to be known of its run; null once it has ended.</summary>
    public void WriteProcess(MachineProcess? process)
    {
        if (process is null)
        {
            File.Delete(In("run.json"));
        }
        else
        {
            Replace("run.json", JsonSerializer.Serialize(process, MachineJson.Default.MachineProcess));
        }
    }

    /// <summary>
    /// Ends the process that runs it, without asking. False where that can't be found: the number that is known may be another process's, so it
    /// must have the lock.
    /// </summary>
    public bool TryKillMonitor()
    {
        using ProcessHandle? process = ReadProcess() is { } known ? ProcessHandle.TryOpenHolder(known.Process, In("lock")) : null;
        return process is not null && process.TryKill();
    }

    /// <summary>Removes the machine with all that it has, if it is still there. The caller holds the lock.</summary>
    public void Remove()
    {
        if (!Directory.Exists(Path))
        {
            return;
        }

        File.Delete(In("machine.json")); // First: what is left of it if this is interrupted is no machine.
        Directory.Delete(Path, recursive: true);
    }

    /// <summary>Waits until it does not run any more. False where it still does.</summary>
    public bool WaitForEnd(TimeSpan patience, Action? everyFiveSeconds = null)
    {
        long began = Environment.TickCount64;
        long told = began;
        while (IsRunning())
        {
            if (Environment.TickCount64 - began > patience.TotalMilliseconds)
            {
                return false;
            }

            if (Environment.TickCount64 - told >= 5000)
            {
                told = Environment.TickCount64;
                everyFiveSeconds?.Invoke();
            }

            Thread.Sleep(50);
        }

        return true;
    }

    // Null where somebody has it, or it is not there.
    private FileStream? TryOpenLock(FileMode mode, out bool isTaken, FileAccess access = FileAccess.ReadWrite, FileShare share = FileShare.None)
    {
        isTaken = false;
        try
        {
            return new FileStream(In("lock"), mode, access, share);
        }
        catch (IOException error) when (error.HResult == Errno.WouldBlock)
        {
            isTaken = true;
            return null;
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    // As far as the host tells.
    private bool IsInPlace(FileStream file) => FileStatus.Of(file.SafeFileHandle, out FileStatus open) != 0
        || (FileStatus.Of(In("lock"), out FileStatus named) == 0 && (open.Device, open.Inode) == (named.Device, named.Inode));

    private void Replace(string file, string text)
    {
        File.WriteAllText(In(file + ".new"), text + "\n");
        File.Move(In(file + ".new"), In(file), overwrite: true);
    }

    private string In(string file) => System.IO.Path.Combine(Path, file);
}
