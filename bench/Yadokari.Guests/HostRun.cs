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
    /// Runs the script's node section with the tree as the root folder, which node's fixed paths need; in a user namespace unless the caller
    /// is root. Null where the host allows no user namespaces.
    /// </summary>
    /// <param name="tree">The folder; see <see cref="GuestImages.NodeTree"/>.</param>
    public static string? ExerciseNode(string tree)
    {
        var busybox = Path.Combine(tree, "bin/busybox");
        string[] script = ["chroot", tree, "/bin/busybox", "sh", "/yado/exercise.sh", "node"];
        var output = Environment.IsPrivilegedProcess
            ? Run(busybox, "/yado", root: "", script)
            : Run(busybox, "/yado", root: "", ["unshare", "-U", "-r", busybox, .. script]);
        return output.Contains("exercise: done", StringComparison.Ordinal) ? output : null;
    }

    private static string Run(string program, string work, string root, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardInput = true, RedirectStandardError = true };
        // What the host's user has set for perl, node or OpenSSL is not set in the guest either.
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
