using System.Diagnostics;

namespace Yadokari.Guests;

/// <summary>Runs a guest's scripts on the host, with the very programs that the guest has, to know what they must print.</summary>
public static class HostRun
{
    /// <summary>Runs <c>exercise.sh</c> from a tree through its own loader and returns what it prints.</summary>
    /// <param name="tree">The folder; see <see cref="GuestImages.BenchTree"/>.</param>
    public static string Exercise(string tree)
    {
        var work = Directory.CreateTempSubdirectory("yado-exercise-");
        try
        {
            var busybox = Path.Combine(tree, "bin/busybox");
            return Run(busybox, work.FullName, tree, ["sh", Path.Combine(tree, "yado/exercise.sh")]);
        }
        finally
        {
            work.Delete(recursive: true);
        }
    }

    /// <summary>
    /// Runs one of the script's sections with the tree as the root folder, which node's and others' fixed paths need; in namespaces of
    /// their own. Null where the host allows none.
    /// </summary>
    /// <param name="tree">The folder, such as <see cref="GuestImages.NodeTree"/>.</param>
    /// <param name="section">Which one.</param>
    public static string? ExerciseInside(string tree, string section)
    {
        var busybox = Path.Combine(tree, "bin/busybox");
        foreach (var mountPoint in s_mountPoints)
            Directory.CreateDirectory(Path.Combine(tree, mountPoint));
        string[] user = Environment.IsPrivilegedProcess ? [] : ["-U", "-r"];
        var output = Run(busybox, "/yado", root: "", ["unshare", .. user, "-m", busybox, "sh", "-c", Inside, busybox, tree, section]);
        return output.Contains("exercise: done", StringComparison.Ordinal) ? output : null;
    }

    private static readonly string[] s_mountPoints = ["proc", "dev"];

    // Programs need /proc for their own paths and /dev for random numbers; called with busybox, the tree and the section.
    private const string Inside =
        """
        "$0" mount -o rbind /proc "$1/proc" && "$0" mount -o rbind /dev "$1/dev" && exec "$0" chroot "$1" /bin/busybox sh /yado/exercise.sh "$2"
        """;

    private static string Run(string program, string work, string root, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardInput = true, RedirectStandardError = true };
        // Clear variables for perl, node and OpenSSL, which are not set in the guest either.
        start.Environment.Clear();
        start.Environment["PATH"] = "/usr/bin:/bin";
        start.Environment["WORK"] = work;
        start.Environment["ROOT"] = root;
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        process.ErrorDataReceived += static (_, _) => { };
        process.BeginErrorReadLine();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return output;
    }
}
