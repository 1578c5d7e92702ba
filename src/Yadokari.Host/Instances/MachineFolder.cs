using System.Text.Json;
using Yadokari.Core;
using Yadokari.Host.DefaultGuest;
using Yadokari.Linux;

namespace Yadokari.Host.Instances;

/// <summary>
/// A named machine on the host: a folder below <c>$XDG_DATA_HOME/yadokari/machines</c>. The machine exists if <c>machine.json</c> does, which
/// is written last. It runs while a process holds its lock, which the kernel releases however the process ends.
/// </summary>
public sealed class MachineFolder
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private const int LockTimeout = 500; // Milliseconds: IsRunning of another process holds the lock for a moment.

    /// <summary>The machine in a folder, which need not exist.</summary>
    internal MachineFolder(string path) => Path = path;

    /// <summary>The user's folder for data of all machines.</summary>
    public static string DataFolder => CacheFolder.UserFolder("XDG_DATA_HOME", ".local/share");

    /// <summary>The folder of all machines.</summary>
    public static string Root => System.IO.Path.Combine(DataFolder, "machines");

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

    /// <summary>The console's output of all runs.</summary>
    public string Log => In("console.log");

    /// <summary>Standard error of its background monitor.</summary>
    public string MonitorLog => In("monitor.log");

    /// <summary>The monitor's control socket.</summary>
    public string Control => In("control");

    /// <summary>The host keys of the guest's sshd, as ssh recorded them.</summary>
    public string KnownHosts => In("known_hosts");

    /// <summary>The socket by which ssh processes share a connection to its sshd on a forwarded host port.</summary>
    public string SshControl(int port) => In($"ssh-{port}");

    /// <summary>Whether the machine exists.</summary>
    public bool Exists => File.Exists(In("machine.json"));

    /// <summary>All machines, by name.</summary>
    public static IEnumerable<MachineFolder> All() => Directory.Exists(Root)
        ? Directory.EnumerateDirectories(Root).Order(StringComparer.Ordinal).Select(p => new MachineFolder(p)).Where(m => m.Exists)
        : [];

    /// <summary>The folder of a machine that need not exist.</summary>
    public static MachineFolder Of(string name) => new(System.IO.Path.Combine(Root, MachineName.Check(name)));

    /// <summary>The folder of an existing machine.</summary>
    /// <exception cref="UserErrorException">The machine does not exist.</exception>
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

    /// <summary>A folder whose name no machine has: <paramref name="stem"/>, with a number if that is taken.</summary>
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

    /// <summary>Takes the machine's lock until the stream is disposed of; null if another process holds it. Creates the folder.</summary>
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

                // Not in place: the file was removed with the machine, and perhaps another process created a new one. Taken: perhaps only by another
                // process's IsRunning, which releases it at once.
                file?.Dispose();
                if (Environment.TickCount64 - began > LockTimeout)
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

    /// <summary>Whether the machine runs.</summary>
    public bool IsRunning()
    {
        // Shared: two processes that only test the lock do not disturb each other.
        using FileStream? file = TryOpenLock(FileMode.Open, out bool isTaken, FileAccess.Read, FileShare.Read);
        return isTaken;
    }

    /// <summary>Reads the machine's configuration.</summary>
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

    /// <summary>Writes the machine's configuration. From then on the machine exists.</summary>
    public void WriteConfig(MachineConfig config) => Replace("machine.json", config.ToJson());

    /// <summary>Reads the record of the running process; null if the machine does not run, starts or ends.</summary>
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

    /// <summary>Writes the record of the running process; null removes it.</summary>
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
    /// Kills the monitor's process. False if it can't be found: the recorded process id may have been reused, so the process must hold the
    /// lock.
    /// </summary>
    public bool TryKillMonitor()
    {
        using ProcessHandle? process = ReadProcess() is { } known ? ProcessHandle.TryOpenHolder(known.Process, In("lock")) : null;
        return process is not null && process.TryKill();
    }

    /// <summary>Deletes the machine's folder, if it exists. The caller holds the lock.</summary>
    public void Remove()
    {
        if (!Directory.Exists(Path))
        {
            return;
        }

        File.Delete(In("machine.json")); // First: after an interruption the rest of the folder is no machine.
        Directory.Delete(Path, recursive: true);
    }

    /// <summary>Waits until the machine does not run. False if it still runs after <paramref name="timeout"/>.</summary>
    public bool WaitForEnd(TimeSpan timeout, Action? everyFiveSeconds = null)
    {
        long began = Environment.TickCount64;
        long lastCall = began;
        while (IsRunning())
        {
            if (Environment.TickCount64 - began > timeout.TotalMilliseconds)
            {
                return false;
            }

            if (Environment.TickCount64 - lastCall >= 5000)
            {
                lastCall = Environment.TickCount64;
                everyFiveSeconds?.Invoke();
            }

            Thread.Sleep(50);
        }

        return true;
    }

    // Null if another process holds the lock or the file does not exist.
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

    // Whether the lock file that was opened is still the one at its path. True if the host can't tell.
    private bool IsInPlace(FileStream file) => FileStatus.Of(file.SafeFileHandle, out FileStatus open) != 0
        || (FileStatus.Of(In("lock"), out FileStatus named) == 0 && (open.Device, open.Inode) == (named.Device, named.Inode));

    private void Replace(string file, string text)
    {
        File.WriteAllText(In(file + ".new"), text + "\n");
        File.Move(In(file + ".new"), In(file), overwrite: true);
    }

    private string In(string file) => System.IO.Path.Combine(Path, file);
}
