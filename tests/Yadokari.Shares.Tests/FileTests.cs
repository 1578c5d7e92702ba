using System.Text;

namespace Yadokari.Shares.Tests;

/// <summary>What a guest does with files is what the host sees, and the other way round.</summary>
public sealed class FileTests
{
    private const ulong Root = FuseClient.Root;
    private const int NoEntry = 2;
    private const int Exists = 17;
    private const int NotEmpty = 39;
    private const int Stale = 116;

    [Fact]
    public void A_version_is_agreed_on()
    {
        using var folder = new SharedFolder();
        (int error, byte[] body) = folder.Guest.Init(8, 0);
        Assert.Equal((0, 7u, 64), (error, BitConverter.ToUInt32(body), body.Length));
        (error, body) = folder.Guest.Init(7, 31);
        Assert.Equal((0, 7u, 31u, 64), (error, BitConverter.ToUInt32(body), BitConverter.ToUInt32(body, 4), body.Length));
        Assert.Equal(1u << 20, BitConverter.ToUInt32(body, 20));
        Assert.Equal(71, folder.Guest.Init(7, 8).Error);
        Assert.Equal(71, folder.Guest.Init(6, 36).Error);
    }

    [Fact]
    public void Attributes_are_the_hosts()
    {
        using var folder = new SharedFolder();
        File.WriteAllText(folder["file"], new string('x', 10_000));
        SharedFolder.Host("ln", folder["file"], folder["other"]);
        SharedFolder.Host("chmod", "4751", folder["file"]);
        SharedFolder.Host("touch", "-m", "-d", "@1234567890.123456789", folder["file"]);
        Attributes what = folder.Guest.Attributes(folder.Guest.Lookup(Root, "file").Id).What;
        string shown = $"{what.Inode} {what.Size} {what.Blocks} {what.Accessed} {what.Modified} {what.Mode:x} {what.Links} {what.User} {what.Group}";
        Assert.Equal(SharedFolder.Host("stat", "-c", "%i %s %b %X %Y %f %h %u %g", folder["file"]), shown);
        Assert.Equal(123456789u, what.ModifiedNanoseconds);
        (int error, byte[] body) = folder.Guest.Call(17, Root, []);
        Assert.Equal(0, error);
        Assert.Equal(80, body.Length);
        Assert.Equal(SharedFolder.Host("stat", "-f", "-c", "%b %s %l %S", folder.Path), $"{BitConverter.ToUInt64(body)} {BitConverter.ToUInt32(body, 40)} {BitConverter.ToUInt32(body, 44)} {BitConverter.ToUInt32(body, 48)}");
    }

    [Fact]
    public void What_is_written_is_there()
    {
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        (int error, ulong file, ulong handle) = guest.Create(Root, "file", mode: 0x1B6); // 0666: the guest's umask is in it already.
        Assert.Equal(0, error);
        Assert.Equal("666", SharedFolder.Host("stat", "-c", "%a", folder["file"]));
        byte[] data = new byte[1 << 20];
        Random.Shared.NextBytes(data);
        Assert.Equal((0, (uint)data.Length), guest.Write(handle, 3, data));
        Assert.Equal([0, 0, 0, .. data], File.ReadAllBytes(folder["file"]));
        Assert.Equal(data[5..], guest.Read(handle, 8, 2 << 20).Body);
        Assert.Equal([], guest.Read(handle, 2 << 20, 100).Body);
        Assert.Equal((0, 1u), guest.Write(handle, 5ul << 30, [7]));
        Assert.Equal((5ul << 30) + 1, guest.Attributes(file).What.Size);
        Assert.Equal([7], guest.Read(handle, 5ul << 30, 10).Body);
        Assert.Equal(0, guest.SetAttributes(file, (1 << 3) | (1 << 6), handle: handle, size: 2));
        Assert.Equal(0, guest.SetAttributes(file, 1 << 3, size: 4));
        Assert.Equal([0, 0, 0, 0], File.ReadAllBytes(folder["file"]));
        Assert.Equal(0, guest.Call(20, file, FuseClient.Bytes(handle, 0u, 0u)).Error);
        Assert.Equal(0, guest.Call(50, Root, FuseClient.Bytes(0ul)).Error);
        Assert.Equal(0, guest.Release(handle));
        Assert.Equal(9, guest.Write(handle, 0, [1]).Error);
        (_, ulong reader) = guest.Open(file, 0);
        Assert.Equal(9, guest.Write(reader, 0, [1]).Error);
    }

    [Fact]
    public void A_file_without_a_name_may_get_one()
    {
        const uint CreateUnnamed = 51;
        const uint Exclusive = 0x80;
        const int Unsupported = 95;
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        (int error, ulong id, ulong handle) = Make(2);
        Assert.SkipWhen(error == Unsupported, "The temporary folder's file system makes no files without a name.");
        Assert.Equal(0, error);
        Assert.Equal((0, 5u), guest.Write(handle, 0, "draft"u8.ToArray()));
        (error, Attributes what) = guest.Attributes(id);
        Assert.Equal((0, 0u, 5ul, 0x8180u), (error, what.Links, what.Size, what.Mode));
        (error, ulong again) = guest.Open(id);
        Assert.Equal(0, error);
        Assert.Equal("draft"u8.ToArray(), guest.Read(again, 0, 100).Body);
        Assert.Equal(0, guest.Release(again));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));

        (error, ulong named, what) = guest.Link(id, Root, "final");
        Assert.Equal((0, id, 1u), (error, named, what.Links));
        Assert.Equal("draft", File.ReadAllText(folder["final"]));
        Assert.Equal("600", SharedFolder.Host("stat", "-c", "%a", folder["final"]));
        Assert.Equal(0, guest.Release(handle));

        // Without one it ends with the guest's interest in it, and so does one that may not have a name.
        (_, id, handle) = Make(2);
        Assert.Equal(0, guest.Release(handle));
        guest.Forget(id, 1);
        Assert.Equal(Stale, guest.Attributes(id).Error);
        (error, id, _) = Make(2 | Exclusive);
        Assert.Equal(0, error);
        Assert.Equal(NoEntry, guest.Link(id, Root, "never").Error);
        Assert.Equal(22, Make(0).Error);
        Assert.Equal([folder["final"]], Directory.EnumerateFileSystemEntries(folder.Path));

        (int Error, ulong Id, ulong Handle) Make(uint flags)
        {
            (int error, byte[] body) = guest.Call(CreateUnnamed, Root, FuseClient.Bytes(flags, 0x8180u, 0u, 0u, "/"));
            return error != 0 ? (error, 0, 0) : (0, BitConverter.ToUInt64(body), BitConverter.ToUInt64(body, 128));
        }
    }

    [Fact]
    public void What_is_appended_goes_to_the_end()
    {
        const uint Append = 0x400;
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        (_, _, ulong handle) = guest.Create(Root, "log", 1 | Append);
        guest.Write(handle, 0, "one "u8.ToArray(), Append);
        File.AppendAllText(folder["log"], "host ");
        guest.Write(handle, 4, "two "u8.ToArray(), Append);
        Assert.Equal("one host two ", File.ReadAllText(folder["log"]));

        // Pages of a mapping go where they belong, whoever opened the file for what.
        guest.Write(handle, 0, "ONE"u8.ToArray(), Append, writeFlags: 1);
        Assert.Equal("ONE host two ", File.ReadAllText(folder["log"]));
    }

    [Fact]
    public void The_guest_keeps_what_has_not_changed()
    {
        using var folder = new SharedFolder();
        File.WriteAllText(folder["new"], "x");
        ulong file = folder.Guest.Lookup(Root, "new").Id;
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(0u, OpenFlags(file)); // Just changed: it may change again and look the same.
        }

        // A host's own file, old as it is.
        string old = typeof(object).Assembly.Location;
        Assert.SkipWhen(DateTime.UtcNow - new[] { File.GetLastWriteTimeUtc(old), Changed(old) }.Max() < TimeSpan.FromMinutes(2), "The runtime was only just installed.");
        using var there = FolderShare.Open(Path.GetDirectoryName(old)!, readOnly: true, 16);
        var guest = new FuseClient(there);
        file = guest.Lookup(Root, Path.GetFileName(old)).Id;
        uint[] flags = [.. Enumerable.Range(0, 3).Select(_ => BitConverter.ToUInt32(guest.Call(14, file, FuseClient.Bytes(0u, 0u)).Body, 8))];
        Assert.Equal([0, 2, 2], flags);

        uint OpenFlags(ulong id) => BitConverter.ToUInt32(folder.Guest.Call(14, id, FuseClient.Bytes(0u, 0u)).Body, 8);
        static DateTime Changed(string path) => DateTimeOffset.FromUnixTimeSeconds(long.Parse(SharedFolder.Host("stat", "-L", "-c", "%Z", path), System.Globalization.CultureInfo.InvariantCulture)).UtcDateTime;
    }

    [Fact]
    public void A_file_is_made_once()
    {
        const uint Exclusive = 0x80;
        const uint Truncate = 0x200;
        using var folder = new SharedFolder();
        File.WriteAllText(folder["there"], "content");
        Assert.Equal(Exists, folder.Guest.Create(Root, "there", 2 | Exclusive).Error);
        Assert.Equal("content"u8.ToArray(), folder.Guest.Read(folder.Guest.Create(Root, "there").Handle, 0, 10).Body);
        Assert.Equal(0, folder.Guest.Create(Root, "there", 2 | Truncate).Error);
        Assert.Equal("", File.ReadAllText(folder["there"]));
        Assert.Equal(0, folder.Guest.MakeFolder(Root, "d").Error);
        Assert.Equal(21, folder.Guest.Create(Root, "d").Error);
        Assert.Equal(Exists, folder.Guest.MakeFolder(Root, "d").Error);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(64)]
    public void A_file_that_lost_its_name_stays_while_it_is_used(int mostOpen)
    {
        using var folder = new SharedFolder(mostOpen: mostOpen);
        FuseClient guest = folder.Guest;
        (_, ulong file, ulong handle) = guest.Create(Root, "file");
        guest.Write(handle, 0, "still"u8.ToArray());
        Assert.Equal(0, guest.Unlink(Root, "file"));
        Assert.False(File.Exists(folder["file"]));
        Assert.Equal("still"u8.ToArray(), guest.Read(handle, 0, 10).Body);
        Assert.Equal((5ul, 0u), (guest.Attributes(file).What.Size, guest.Attributes(file, handle).What.Links));
        Assert.Equal(0, guest.SetAttributes(file, 1 << 3, size: 2));
        Assert.Equal(NoEntry, guest.Lookup(Root, "file").Error);
        guest.Forget(file, 1);
        Assert.Equal(Stale, guest.Attributes(file).Error);
        Assert.Equal("st"u8.ToArray(), guest.Read(handle, 0, 10).Body);
    }

    [Fact]
    public void Names_move()
    {
        using var folder = new SharedFolder(mostOpen: 4);
        FuseClient guest = folder.Guest;
        ulong a = guest.MakeFolder(Root, "a").Id;
        ulong b = guest.MakeFolder(Root, "b").Id;
        (_, ulong one, ulong first) = guest.Create(a, "one");
        (_, ulong two, ulong second) = guest.Create(b, "two");
        guest.Write(first, 0, [1]);
        guest.Write(second, 0, [2]);
        guest.Release(first);
        guest.Release(second);
        Assert.Equal(Exists, guest.Rename(a, "one", b, "two", flags: 1));
        Assert.Equal(0, guest.Rename(a, "one", b, "two", flags: 2));
        Assert.Equal([2], guest.Read(guest.Open(two, 0).Handle, 0, 9).Body);
        Assert.Equal([1], File.ReadAllBytes(folder["b/two"]));
        Assert.Equal([2], File.ReadAllBytes(folder["a/one"]));
        Assert.Equal(0, guest.Rename(Root, "a", b, "a"));
        Assert.Equal(1ul, guest.Attributes(one).What.Size);
        Assert.Equal(two, guest.Lookup(a, "one").Id);
        Assert.Equal(0, guest.Rename(a, "one", b, "two")); // The other one is gone, but known.
        Assert.Equal(0u, guest.Attributes(one).What.Links);
        Assert.Equal(22, guest.Rename(Root, "b", a, "b")); // Into itself.
        Assert.Equal(22, guest.Rename(b, "two", a, "x", flags: 4)); // A whiteout.
        Assert.Equal(NotEmpty, guest.RemoveFolder(Root, "b"));
        Assert.Equal(0, guest.RemoveFolder(b, "a"));
    }

    [Fact]
    public void Links_are_made()
    {
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        ulong file = guest.Create(Root, "file").Id;
        (int error, ulong same, Attributes what) = guest.Link(file, Root, "second");
        Assert.Equal((0, file, 2u), (error, same, what.Links));
        Assert.Equal(0, guest.Unlink(Root, "file"));
        Assert.Equal(1u, guest.Attributes(file).What.Links);
        string target = "../" + new string('t', 4000);
        (error, ulong link, what) = guest.Symlink(Root, "link", target);
        Assert.Equal((0, 0xA1FFu), (error, what.Mode));
        Assert.Equal(target, new FileInfo(folder["link"]).LinkTarget);
        Assert.Equal(target, Encoding.UTF8.GetString(guest.Call(5, link, []).Body));
        Assert.Equal(0, guest.Link(link, Root, "link2").Error);
        Assert.Equal(target, new FileInfo(folder["link2"]).LinkTarget);
    }

    [Fact]
    public void Attributes_are_set()
    {
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        ulong file = guest.Create(Root, "file").Id;
        Assert.Equal(0, guest.SetAttributes(file, 1 | (1 << 4) | (1 << 5), accessed: 1_000_000_000, modified: 4_000_000_000, modifiedNanoseconds: 5, mode: 0x9ED));
        Assert.Equal("4755 1000000000 4000000000", SharedFolder.Host("stat", "-c", "%a %X %Y", folder["file"]));
        Assert.Equal(0, guest.SetAttributes(file, (1 << 5) | (1 << 8)));
        Assert.InRange(guest.Attributes(file).What.Modified, (ulong)DateTimeOffset.UtcNow.ToUnixTimeSeconds() - 100, (ulong)DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 100);
        Assert.Equal(1_000_000_000ul, guest.Attributes(file).What.Accessed);
    }

    [Fact]
    public void What_a_guest_makes_is_its_users()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root can give files away.");
        using var folder = new SharedFolder();
        folder.Guest.As = (1234, 5678);
        FuseClient guest = folder.Guest;
        ulong d = guest.MakeFolder(Root, "d", 0x3FF).Id; // With the bit that gives its files its group.
        SharedFolder.Host("chgrp", "42", folder["d"]);
        SharedFolder.Host("chmod", "2777", folder["d"]);
        guest.Create(Root, "file", mode: 0x9ED);
        guest.Symlink(Root, "link", "x");
        guest.Create(d, "file");
        guest.MakeFolder(d, "inner");
        Assert.Equal("1234 5678 4755", SharedFolder.Host("stat", "-c", "%u %g %a", folder["file"]));
        Assert.Equal("1234 5678", SharedFolder.Host("stat", "-c", "%u %g", folder["link"]));
        Assert.Equal("1234 42 644", SharedFolder.Host("stat", "-c", "%u %g %a", folder["d/file"]));
        Assert.Equal("1234 42 2755", SharedFolder.Host("stat", "-c", "%u %g %a", folder["d/inner"]));
        Assert.Equal(0, guest.SetAttributes(guest.Lookup(Root, "link").Id, 3 << 1, user: 7, group: 8));
        Assert.Equal("7 8", SharedFolder.Host("stat", "-c", "%u %g", folder["link"]));
        Assert.Equal(0, guest.SetAttributes(guest.Lookup(Root, "file").Id, 1 << 1, user: 9));
        Assert.Equal("9 5678", SharedFolder.Host("stat", "-c", "%u %g", folder["file"]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_big_folder_is_listed_while_it_changes(bool plus)
    {
        const int Count = 10_000;
        using var folder = new SharedFolder(mostOpen: 8);
        FuseClient guest = folder.Guest;
        for (int i = 0; i < Count; i++)
        {
            File.WriteAllBytes(folder[$"file-with-a-name-{i}"], []);
        }

        (_, ulong handle) = guest.OpenFolder(Root);
        List<string> seen = [];
        List<(string Name, ulong Before)> places = [];
        ulong at = 0;
        while (guest.ReadFolder(Root, handle, at, plus: plus).Entries is { Count: > 0 } entries)
        {
            places.Add((entries[0].Name, at));
            seen.AddRange(entries.Select(e => e.Name));
            Assert.All(entries, e => Assert.Equal(plus && e.Name is not ("." or ".."), e.Id != 0));
            at = entries[^1].Next;
            if (entries.FirstOrDefault(e => e.Type == 8).Name is { } one)
            {
                File.Delete(folder[one]);
            }
        }

        Assert.Equal(Count + 2, seen.Distinct().Count());
        Assert.Equal(Count + 2, seen.Count);
        Assert.Contains("..", seen);
        foreach ((_, ulong before) in places.AsEnumerable().Reverse().Take(20))
        {
            Assert.NotEmpty(guest.ReadFolder(Root, handle, before).Entries); // Back again.
        }
    }

    [Fact]
    public void Many_more_files_are_known_than_open()
    {
        using var folder = new SharedFolder(mostOpen: 4);
        FuseClient guest = folder.Guest;
        ulong at = Root;
        List<ulong> folders = [];
        for (int i = 0; i < 300; i++)
        {
            (int error, at, _) = guest.MakeFolder(at, "deeper");
            Assert.Equal(0, error);
            folders.Add(at);
        }

        (_, ulong file, ulong handle) = guest.Create(at, "file");
        guest.Write(handle, 0, [42]);
        guest.Release(handle);
        ulong[] others = [.. Enumerable.Range(0, 200).Select(i => guest.MakeFolder(Root, $"other{i}").Id)];
        Assert.All(others, id => Assert.Equal(0, guest.Attributes(id).Error));
        Assert.Equal([42], guest.Read(guest.Open(file, 0).Handle, 0, 9).Body);
        Assert.Equal(0, guest.Rename(Root, "deeper", others[7], "moved"));
        Assert.All(others, id => Assert.Equal(0, guest.Attributes(id).Error));
        Assert.Equal([42], guest.Read(guest.Open(file, 0).Handle, 0, 9).Body);

        // The folders above are needed as long as what is in them.
        folders.ForEach(id => guest.Forget(id, 1));
        Assert.All(others, id => Assert.Equal(0, guest.Attributes(id).Error));
        Assert.Equal(1ul, guest.Attributes(file).What.Size);
        guest.Forget(file, 1);
        Assert.Equal(Stale, guest.Attributes(file).Error);
        Assert.Equal(Stale, guest.Attributes(folders[0]).Error);
    }

    [Fact]
    public void Ranges_of_files_are_handled()
    {
        using var folder = new SharedFolder();
        FuseClient guest = folder.Guest;
        (_, ulong file, ulong handle) = guest.Create(Root, "file");
        Assert.Equal(0, guest.Call(43, file, FuseClient.Bytes(handle, 0ul, 100_000ul, 0u, 0u)).Error);
        Assert.Equal(100_000, new FileInfo(folder["file"]).Length);
        guest.Write(handle, 50_000, [1, 2, 3]);
        (int error, byte[] body) = guest.Call(47, file, FuseClient.Bytes(handle, 50_000ul, file, handle, 7ul, 3ul, 0ul));
        Assert.Equal((0, 3u), (error, BitConverter.ToUInt32(body)));
        Assert.Equal([1, 2, 3], File.ReadAllBytes(folder["file"])[7..10]);
        Assert.Equal(95, guest.Call(43, file, FuseClient.Bytes(handle, 0ul, 10ul, 8u, 0u)).Error); // Collapsing a range.
        guest.SetAttributes(file, 1 << 3, size: 0);
        guest.SetAttributes(file, 1 << 3, size: 1 << 20);
        guest.Write(handle, 1 << 19, [1]);
        (error, body) = guest.Call(46, file, FuseClient.Bytes(handle, 0ul, 3u, 0u));
        Assert.Equal(0, error);
        Assert.InRange(BitConverter.ToUInt64(body), 1ul, 1ul << 19);
        Assert.Equal(6, guest.Call(46, file, FuseClient.Bytes(handle, 1ul << 20, 3u, 0u)).Error);
        Assert.Equal(38, guest.Call(22, file, FuseClient.Bytes(0u, 0u, "user.x")).Error); // Extended attributes.
    }
}
