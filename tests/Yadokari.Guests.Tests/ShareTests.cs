using System.Security.Cryptography;

namespace Yadokari.Guests.Tests;

/// <summary>Linux works in folders of the host's: what one side makes the other sees.</summary>
public sealed class ShareTests
{
    // Says what went wrong, then "share: done".
    private const string Script =
        """
        cd /work
        wrong() { echo "share: $*"; }
        [ "$(cat given)" = "from the host" ] || wrong "given differs"
        cp big copy && sync
        echo 3 > /proc/sys/vm/drop_caches
        cmp big copy || wrong "copy differs"
        sha256sum < copy > sum
        [ "$(readlink out)" = /etc/hostname ] || wrong "a link says $(readlink out)"
        [ "$(cat out)" = yadokari ] || wrong "a link was followed outside the guest"
        ln -s given inner && [ "$(cat inner)" = "from the host" ] || wrong "no symbolic link"
        ln given hard && [ "$(stat -c %h given)" = 2 ] || wrong "no hard link"
        mkdir -p a/b/c && mv a/b moved && rmdir a moved/c || wrong "folders can't be moved"
        echo old > target && echo new > source && mv source target && [ "$(cat target)" = new ] || wrong "no rename over a file"
        exec 3<> gone && rm gone && echo here >&3 && [ "$(cat /proc/self/fd/3)" = here ] || wrong "an open file is gone with its name"
        exec 3>&-
        mkdir many && for i in $(seq 3000); do : > many/$i; done
        [ "$(ls many | wc -l)" = 3000 ] && [ "$(ls -l many | sort -u | wc -l)" = 3001 ] || wrong "not all of many files"
        rm many/1* && [ "$(ls many | wc -l)" = 1889 ] || wrong "not all of what is left"
        [ "$(ls hosts | wc -l)" = 10000 ] || wrong "not all of the host's many files"
        mkdir bin && cp /bin/busybox bin/busybox && sync && echo 3 > /proc/sys/vm/drop_caches
        for i in 1 2 3 4; do [ "$(bin/busybox echo runs)" = runs ] || wrong "a program does not run"; done
        truncate -s 5G large && echo end >> large && [ "$(tail -c 4 large)" = end ] || wrong "no large file"
        for i in $(seq 200); do echo "guest $i" >> log & done; wait
        [ "$(sort -u log | wc -l)" = 200 ] || wrong "what was appended is lost"
        touch -d '2001-02-03 04:05:06' times; chmod 751 times
        mkfifo fifo && { echo through > fifo & [ "$(cat fifo)" = through ] || wrong "no FIFO"; }
        mknod node c 1 3 2> /dev/null && wrong "a device node was made"
        ls -a .. | grep -q secret && wrong "what is around the folder is seen"
        cd /given
        [ "$(cat file)" = "not yours" ] || wrong "the read-only one is not read"
        { echo x > file; } 2> /dev/null && wrong "the read-only one was written"
        mount -o remount,rw /given
        for change in "touch file" "rm file" "mkdir d" "mv file x" "ln file x" "chmod 777 file" "truncate -s 0 file" "touch x"; do
            $change 2> /tmp/error && wrong "read-only, but: $change"
            grep -q "Read-only" /tmp/error || wrong "$change: $(cat /tmp/error)"
        done
        cd /
        umount /work /given && mount -t virtiofs /work /work && [ "$(cat /work/target)" = new ] || wrong "not mounted again"
        dmesg | grep -iE 'virtio.?fs.*(fail|error)|fuse.*(bad|error)' | sed 's/^/share: log: /'
        echo "share: done"

        """;

    [Theory]
    [InlineData(1, "none")]
    [InlineData(4, "user")]
    public void Linux_works_in_folders(int cpus, string network)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var around = Directory.CreateTempSubdirectory("yadokari-share-").FullName;
        try
        {
            var work = Directory.CreateDirectory(Path.Combine(around, "work")).FullName;
            var given = Directory.CreateDirectory(Path.Combine(around, "given")).FullName;
            File.WriteAllText(Path.Combine(around, "secret"), "secret");
            File.WriteAllText(Path.Combine(given, "file"), "not yours");
            File.WriteAllText(Path.Combine(work, "given"), "from the host");
            File.WriteAllText(Path.Combine(work, "script"), Script);
            File.CreateSymbolicLink(Path.Combine(work, "out"), "/etc/hostname");
            File.WriteAllBytes(Path.Combine(work, "big"), RandomNumberGenerator.GetBytes(20_000_001));
            Directory.CreateDirectory(Path.Combine(work, "hosts"));
            for (var i = 0; i < 10_000; i++)
                File.WriteAllBytes(Path.Combine(work, "hosts", $"{i}"), []);

            using var vm = Guest.Start("--share", work + ":/work", "--share", given + ":/given,ro", "--cpus", $"{cpus}", "--net", network);
            vm.Console.WaitFor("# ");
            vm.Console.Send("hostname > /etc/hostname; cp /work/script /tmp; sh /tmp/script");
            vm.Console.WaitFor("share: done");
            vm.Console.Send("echo later > /work/later; poweroff");
            Assert.Equal(0, vm.Console.WaitForEnd());
            Assert.Equal(["share: done"], vm.Console.Text.Split('\n').Select(static line => line.Trim()).Where(static line => line.StartsWith("share: ", StringComparison.Ordinal)));

            Assert.Equal(File.ReadAllBytes(Path.Combine(work, "big")), File.ReadAllBytes(Path.Combine(work, "copy")));
            Assert.StartsWith(Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Path.Combine(work, "big")))), File.ReadAllText(Path.Combine(work, "sum")), StringComparison.Ordinal);
            Assert.Equal("later\n", File.ReadAllText(Path.Combine(work, "later")));
            Assert.Equal("new\n", File.ReadAllText(Path.Combine(work, "target")));
            Assert.Equal((5L << 30) + 4, new FileInfo(Path.Combine(work, "large")).Length);
            Assert.Equal(1889, Directory.EnumerateFiles(Path.Combine(work, "many")).Count());
            Assert.Equal(Enumerable.Range(1, 200).Select(static i => $"guest {i}").Order(), File.ReadLines(Path.Combine(work, "log")).Order());
            Assert.Equal(new DateTime(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc), File.GetLastWriteTimeUtc(Path.Combine(work, "times")));
            Assert.Equal((UnixFileMode)0x1E9, new FileInfo(Path.Combine(work, "times")).UnixFileMode);
            Assert.Equal("given", new FileInfo(Path.Combine(work, "inner")).LinkTarget);
            Assert.Equal("not yours", File.ReadAllText(Path.Combine(given, "file")));
            Assert.Equal([Path.Combine(given, "file")], Directory.EnumerateFileSystemEntries(given));
            Assert.Equal("secret", File.ReadAllText(Path.Combine(around, "secret")));
        }
        finally
        {
            Directory.Delete(around, recursive: true);
        }
    }

    [Theory]
    [InlineData("missing")]
    [InlineData("file")]
    public void What_is_no_folder_is_refused(string name)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var around = Directory.CreateTempSubdirectory("yadokari-share-").FullName;
        try
        {
            File.WriteAllText(Path.Combine(around, "file"), "");
            using var vm = Guest.Start("--share", Path.Combine(around, name) + ":/work");
            Assert.Equal(2, vm.Console.WaitForEnd());
        }
        finally
        {
            Directory.Delete(around, recursive: true);
        }
    }
}
