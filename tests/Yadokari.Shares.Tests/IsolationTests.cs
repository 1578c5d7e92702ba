using CsCheck;
using Yadokari.Core;

namespace Yadokari.Shares.Tests;

/// <summary>A guest gets to nothing outside the folder, and to nothing that would block or is a device; whatever it asks.</summary>
public sealed class IsolationTests
{
    private const int NoEntry = 2;
    private const int NotPermitted = 1;
    private const int NotAFolder = 20;
    private const int Invalid = 22;
    private const int TooManyOpen = 23;
    private const int ReadOnlyError = 30;
    private const int NameTooLong = 36;
    private const int Stale = 116;

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("../secret")]
    [InlineData("../secret/file")]
    [InlineData("a/b")]
    [InlineData("/")]
    [InlineData("/etc")]
    public void Names_that_lead_elsewhere_are_none(string name)
    {
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        Directory.CreateDirectory(folder["a"]);
        ulong a = guest.Lookup(FuseClient.Root, "a").Id;
        (_, ulong file, _) = guest.Create(a, "file");
        foreach (ulong at in new[] { FuseClient.Root, a })
        {
            Assert.Equal(Invalid, guest.Lookup(at, name).Error);
            Assert.Equal(Invalid, guest.Create(at, name).Error);
            Assert.Equal(Invalid, guest.MakeFolder(at, name).Error);
            Assert.Equal(Invalid, guest.MakeNode(at, name, 0x81A4).Error);
            Assert.Equal(Invalid, guest.Symlink(at, name, "x").Error);
            Assert.Equal(Invalid, guest.Link(file, at, name).Error);
            Assert.Equal(Invalid, guest.Unlink(at, name));
            Assert.Equal(Invalid, guest.RemoveFolder(at, name));
            Assert.Equal(Invalid, guest.Rename(a, "file", at, name));
            Assert.Equal(Invalid, guest.Rename(at, name, FuseClient.Root, "moved"));
        }

        Assert.Equal(["a"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
        folder.CheckSecret();
    }

    [Fact]
    public void A_name_of_255_bytes_is_the_longest()
    {
        using var folder = new SharedFolder();
        Assert.Equal(0, folder.Guest.Create(FuseClient.Root, new string('n', 255)).Error);
        Assert.Equal(NameTooLong, folder.Guest.Create(FuseClient.Root, new string('n', 256)).Error);
        Assert.Equal(Invalid, folder.Guest.Call(1, FuseClient.Root, [65, 66]).Error); // No NUL.
    }

    [Fact]
    public void Symbolic_links_are_not_followed()
    {
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        File.CreateSymbolicLink(folder["out"], folder.Secret);
        File.CreateSymbolicLink(folder["file"], Path.Combine(folder.Secret, "file"));
        (int error, ulong link, Attributes what) = guest.Lookup(FuseClient.Root, "out");
        Assert.Equal((0, 0xA000u), (error, what.Mode & 0xF000));
        Assert.Equal(folder.Secret, System.Text.Encoding.UTF8.GetString(guest.Call(5, link, []).Body));
        Assert.Equal(NotAFolder, guest.Lookup(link, "file").Error);
        Assert.Equal(NotAFolder, guest.OpenFolder(link).Error);
        Assert.Equal(NotAFolder, guest.Create(link, "new").Error);
        Assert.Equal(NotAFolder, guest.Unlink(link, "file"));
        ulong file = guest.Lookup(FuseClient.Root, "file").Id;
        Assert.Equal(NotPermitted, guest.Open(file, 0).Error);
        Assert.Equal(Invalid, guest.SetAttributes(file, 1 << 3, size: 0));
        Assert.NotEqual(0, guest.SetAttributes(file, 1 << 0, mode: 0x1FF));
        Assert.Equal(0, guest.SetAttributes(file, 1 << 5, modified: 1));
        Assert.Equal("1970-01-01", SharedFolder.Host("stat", "-c", "%y", folder["file"])[..10]);
        Assert.NotEqual("1970-01-01", SharedFolder.Host("stat", "-c", "%y", Path.Combine(folder.Secret, "file"))[..10]);

        // A file where a link is, made by one who does not know that.
        Assert.Equal(NotPermitted, guest.Create(FuseClient.Root, "file", flags: 2 | 0x200).Error);
        folder.CheckSecret();
    }

    [Theory]
    [InlineData(4)]
    [InlineData(64)]
    public void A_folder_that_the_host_replaces_by_a_link_leads_nowhere(int mostOpen)
    {
        using var folder = new SharedFolder(mostOpen: mostOpen);
        FuseClient guest = folder.Guest;
        Directory.CreateDirectory(folder["d/inner"]);
        File.WriteAllText(folder["d/file"], "inside");
        ulong d = guest.Lookup(FuseClient.Root, "d").Id;
        ulong inner = guest.Lookup(d, "inner").Id;
        Assert.Equal(0, guest.Lookup(d, "file").Error);
        Directory.Move(folder["d"], folder["old"]);
        File.CreateSymbolicLink(folder["d"], folder.Secret);
        for (int i = 0; i < 4; i++)
        {
            // Either what it was, or nothing.
            (int error, ulong id, Attributes what) = guest.Lookup(d, "file");
            Assert.True(error == Stale || what.Size == 6 && guest.Read(guest.Open(id, 0).Handle, 0, 6).Body.SequenceEqual("inside"u8.ToArray()));
            Assert.Contains(guest.OpenFolder(inner).Error, new[] { 0, Stale });
            guest.MakeFolder(FuseClient.Root, $"other{i}");
            guest.OpenFolder(guest.Lookup(FuseClient.Root, $"other{i}").Id);
        }

        Assert.Equal(0xA000u, guest.Lookup(FuseClient.Root, "d").What.Mode & 0xF000);
        folder.CheckSecret();
    }

    [Fact]
    public void A_folder_that_the_host_moves_out_leads_no_further()
    {
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        Directory.CreateDirectory(folder["d"]);
        ulong d = guest.Lookup(FuseClient.Root, "d").Id;
        (_, ulong handle) = guest.OpenFolder(d);
        Directory.Move(folder["d"], Path.Combine(folder.Secret, "d"));
        Assert.Equal(Invalid, guest.Lookup(d, "..").Error);
        Assert.Equal(Invalid, guest.Lookup(d, "../file").Error);
        Assert.DoesNotContain(guest.ReadFolder(d, handle, 0, plus: true).Entries, e => e.Name == ".." && e.Id != 0);
        Directory.Delete(Path.Combine(folder.Secret, "d"));
        folder.CheckSecret();
    }

    [Fact]
    public void Special_files_are_seen_but_not_opened()
    {
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        SharedFolder.Host("mkfifo", folder["fifo"]);
        ulong fifo = guest.Lookup(FuseClient.Root, "fifo").Id;
        Assert.Equal(0x1000u, guest.Attributes(fifo).What.Mode & 0xF000);
        for (uint access = 0; access < 3; access++)
        {
            Assert.Equal(NotPermitted, guest.Open(fifo, access).Error);
            Assert.Equal(NotPermitted, guest.Create(FuseClient.Root, "fifo", access).Error);
        }

        Assert.Equal(0, guest.MakeNode(FuseClient.Root, "own", 0x11A4).Error);
        Assert.Equal(0, guest.MakeNode(FuseClient.Root, "socket", 0xC1A4).Error);
        Assert.Equal(NotPermitted, guest.MakeNode(FuseClient.Root, "null", 0x21B6).Error); // A character device.
        Assert.Equal(NotPermitted, guest.MakeNode(FuseClient.Root, "disk", 0x61B6).Error); // A block device.
    }

    [Fact]
    public void A_read_only_folder_is_not_changed()
    {
        using var folder = new SharedFolder(readOnly: true);
        FuseClient guest = folder.Guest;
        File.WriteAllText(folder["file"], "content");
        Directory.CreateDirectory(folder["d"]);
        string before = SharedFolder.Host("find", folder.Path, "-printf", "%p %s %m %U %G %n %T@ %C@\\n");
        (ulong file, ulong d) = (guest.Lookup(FuseClient.Root, "file").Id, guest.Lookup(FuseClient.Root, "d").Id);
        (int error, ulong handle) = guest.Open(file, 0);
        Assert.Equal(0, error);
        Assert.Equal("content"u8.ToArray(), guest.Read(handle, 0, 100).Body);
        Assert.Equal(ReadOnlyError, guest.Open(file, 1).Error);
        Assert.Equal(ReadOnlyError, guest.Open(file, 2).Error);
        Assert.Equal(ReadOnlyError, guest.Create(FuseClient.Root, "new").Error);
        Assert.Equal(ReadOnlyError, guest.Create(FuseClient.Root, "file", 0).Error);
        Assert.Equal(ReadOnlyError, guest.MakeFolder(d, "new").Error);
        Assert.Equal(ReadOnlyError, guest.MakeNode(d, "new", 0x81A4).Error);
        Assert.Equal(ReadOnlyError, guest.Symlink(d, "new", "x").Error);
        Assert.Equal(ReadOnlyError, guest.Link(file, d, "new").Error);
        Assert.Equal(ReadOnlyError, guest.Unlink(FuseClient.Root, "file"));
        Assert.Equal(ReadOnlyError, guest.RemoveFolder(FuseClient.Root, "d"));
        Assert.Equal(ReadOnlyError, guest.Rename(FuseClient.Root, "file", d, "file"));
        Assert.Equal(ReadOnlyError, guest.Call(12, FuseClient.Root, FuseClient.Bytes(d, "file", "file")).Error);
        Assert.Equal(ReadOnlyError, guest.Write(handle, 0, [1]).Error);
        Assert.Equal(ReadOnlyError, guest.SetAttributes(file, 1, mode: 0x1FF));
        Assert.Equal(ReadOnlyError, guest.SetAttributes(file, 1 << 3));
        Assert.Equal(ReadOnlyError, guest.SetAttributes(file, 3 << 1, user: 1, group: 1));
        Assert.Equal(ReadOnlyError, guest.SetAttributes(file, 3 << 4));
        Assert.Equal(ReadOnlyError, guest.Call(43, file, FuseClient.Bytes(handle, 0ul, 100ul, 0u, 0u)).Error);
        Assert.Equal(ReadOnlyError, guest.Call(47, file, FuseClient.Bytes(handle, 0ul, file, handle, 3ul, 1ul, 0ul)).Error);
        Assert.Equal(before, SharedFolder.Host("find", folder.Path, "-printf", "%p %s %m %U %G %n %T@ %C@\\n"));
    }

    [Fact]
    public void A_guest_has_only_so_many_open()
    {
        using var folder = new SharedFolder(mostOpen: 16);
        FuseClient guest = folder.Guest;
        (_, ulong file, ulong first) = guest.Create(FuseClient.Root, "file");
        int before = Directory.GetFiles("/proc/self/fd").Length;
        int[] errors = [.. Enumerable.Range(0, 100).Select(_ => guest.Open(file).Error).Distinct()];
        Assert.Equal([0, TooManyOpen], errors);
        Assert.Equal(TooManyOpen, guest.Create(FuseClient.Root, "other").Error);
        Assert.Equal(TooManyOpen, guest.OpenFolder(FuseClient.Root).Error);
        Assert.InRange(Directory.GetFiles("/proc/self/fd").Length, before, before + 16);
        Assert.Equal(0, guest.Release(first));
        Assert.Equal(0, guest.Open(file).Error);
        Assert.Equal(0, guest.Call(38, FuseClient.Root, []).Error);
        Assert.Equal(Stale, guest.Open(file).Error);
        Assert.Equal(0, guest.Init().Error);
        Assert.Equal(0, guest.OpenFolder(FuseClient.Root).Error);
    }

    [Theory]
    [InlineData("missing")]
    [InlineData("secret/file")]
    [InlineData("secret/file/x")]
    public void What_is_no_folder_is_not_shared(string name)
    {
        using var folder = new SharedFolder();
        string path = Path.Combine(Path.GetDirectoryName(folder.Path)!, name);
        Assert.Contains(path, Assert.Throws<UserErrorException>(() => FolderShare.Open(path, false, 16)).Message, StringComparison.Ordinal);
    }

    private static readonly string[] s_names = ["a", "b", "d", "link", "fifo", "..", ".", "", "../secret/file", "a/b", "\u00e4", new string('x', 300)];

    private static Gen<byte[]> Part { get; } = Gen.OneOf(
        Gen.ULong[0, 12].Select(BitConverter.GetBytes),
        Gen.UInt[0, 4096].Select(BitConverter.GetBytes),
        Gen.ULong.Select(BitConverter.GetBytes),
        Gen.UInt.Select(BitConverter.GetBytes),
        Gen.Byte.Array[0, 40],
        Gen.OneOfConst(s_names).Select(name => (byte[])[.. System.Text.Encoding.UTF8.GetBytes(name), 0]));

    private static Gen<(uint Operation, ulong Node, byte[] Body)> Message { get; } = Gen.Select(
        Gen.Frequency((9, Gen.UInt[0, 52]), (1, Gen.UInt)).Where(operation => operation != 38), Gen.Frequency((9, Gen.ULong[0, 12]), (1, Gen.ULong)),
        Gen.Frequency((3, Part.Array[0, 12].Select(parts => parts.SelectMany(p => p).ToArray())), (2, Sensible)));

    // Numbers that are small, then names: many of these mean something.
    private static Gen<byte[]> Sensible => Gen.Select(
        Gen.UInt[0, 8].Array[0, 22], Gen.OneOfConst(s_names), Gen.OneOfConst(s_names), (numbers, one, two) => FuseClient.Bytes([.. numbers.Cast<object>(), one, two]));

    [Fact]
    public void Random_messages_are_answered() => Message.Array[1, 60].Sample(
        messages =>
        {
            using var folder = new SharedFolder(mostOpen: 8);
            File.CreateSymbolicLink(folder["link"], folder.Secret);
            SharedFolder.Host("mkfifo", folder["fifo"]);
            File.WriteAllText(folder["a"], "a");
            Directory.CreateDirectory(folder["d"]);
            foreach (string name in new[] { "link", "fifo", "a", "d" })
            {
                folder.Guest.Open(folder.Guest.Lookup(FuseClient.Root, name).Id);
            }

            folder.Guest.OpenFolder(FuseClient.Root);
            foreach ((uint operation, ulong node, byte[] body) in messages)
            {
                folder.Guest.Call(operation, node, body, data: body, room: 100);
            }

            folder.CheckSecret();
            Assert.Equal(0, folder.Guest.Init().Error);
            Assert.Equal(0, folder.Guest.OpenFolder(FuseClient.Root).Error);
            Assert.Equal(NoEntry, folder.Guest.Lookup(FuseClient.Root, "nothing").Error);
        },
        iter: 400, threads: 1);

    [Fact]
    public void Several_queues_do_not_disturb_one_another()
    {
        using var folder = new SharedFolder(mostOpen: 8);
        string[] names = [.. Enumerable.Range(0, 12).Select(i => $"f{i}")];
        Array.ForEach(names, name => File.WriteAllText(folder[name], name));
        void Work(int seed)
        {
            var guest = new FuseClient(folder.Share);
            var random = new Random(seed);
            for (int i = 0; i < 4000; i++)
            {
                string name = names[random.Next(names.Length)];
                (int error, ulong id, Attributes what) = guest.Lookup(FuseClient.Root, name);
                Assert.Equal((0, (ulong)name.Length), (error, what.Size));
                (error, ulong handle) = guest.Open(id);
                if (error == 0)
                {
                    (error, byte[] body) = guest.Read(handle, 0, 16);
                    Assert.True(error == 9 || System.Text.Encoding.ASCII.GetString(body) == name); // Another may close it.
                    guest.Release(handle);
                }

                guest.Release((ulong)random.Next(i + 1));
                guest.Forget((ulong)random.Next(2, 14), 1);
            }
        }

        Parallel.For(0, 4, Work);
        folder.CheckSecret();
    }
}
