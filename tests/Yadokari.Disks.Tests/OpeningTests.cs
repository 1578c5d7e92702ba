using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core.Disks;

namespace Yadokari.Disks.Tests;

/// <summary>
/// What was looked at is what is used, whatever its name stands for by then: each file is opened once. Its lock ends with who had it.
/// </summary>
public sealed partial class OpeningTests : IDisposable
{
    private const int CloseOnExecAndNonBlocking = 0x80800;
    private const uint Opened = 0x20; // IN_OPEN of linux/inotify.h
    private const uint Closed = 0x18; // IN_CLOSE: between two that are the same, which the kernel would make one.
    private const int EventSize = 16;
    private const int ExclusiveLock = 2;
    private const int DoNotWait = 4;

    private readonly string _folder = Directory.CreateTempSubdirectory("yado-opening-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(DiskFormat.Raw, null)]
    [InlineData(DiskFormat.Raw, DiskFormat.Raw)]
    [InlineData(DiskFormat.Qcow2, null)]
    [InlineData(DiskFormat.Qcow2, DiskFormat.Qcow2)]
    public void An_image_is_opened_once(DiskFormat format, DiskFormat? said)
    {
        string path = Make(format);
        foreach (bool readOnly in new[] { true, false })
        {
            Assert.Equal(1, CountOpenings(path, () => DiskImage.Open(path, readOnly, said).Dispose()));
        }

        Assert.Equal(1, CountOpenings(path, () => DiskImage.OpenSnapshot(path, said).Dispose()));
        Assert.Equal(1, CountOpenings(path, () => DiskFiles.Describe(path, said)));
    }

    [Theory]
    [InlineData(DiskFormat.Raw)]
    [InlineData(DiskFormat.Qcow2)]
    public void What_an_image_builds_on_is_opened_once(DiskFormat format)
    {
        string path = Make(format);
        string top = Path.Combine(_folder, "top.qcow2");
        Assert.Equal(1, CountOpenings(path, () => DiskFiles.Create(top, new NewDisk { Format = DiskFormat.Qcow2, Backing = path })));
        Assert.Equal(format, DiskFiles.Describe(top).BackingFormat);
        Assert.Equal(1, CountOpenings(path, () => DiskImage.Open(top, readOnly: false).Dispose()));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_lock_that_is_given_back_soon_is_waited_for(bool readOnly)
    {
        string path = Make(DiskFormat.Raw);
        IDisk dying = DiskImage.Open(path, readOnly: false);
        using SafeFileHandle events = WatchFor(path, Opened);
        var death = new Thread(() =>
        {
            while (Read(events, new byte[EventSize], EventSize) < 0)
            {
                Thread.Yield();
            }

            dying.Dispose();
        });
        death.Start();
        DiskImage.Open(path, readOnly).Dispose();
        death.Join();
    }

    [Theory]
    [InlineData(DiskFormat.Raw)]
    [InlineData(DiskFormat.Qcow2)]
    public void What_a_queue_hands_to_the_kernel_is_not_what_has_the_lock(DiskFormat format)
    {
        string path = Make(format);
        using IDisk disk = DiskImage.Open(path, readOnly: false);
        Assert.True(disk.TryWrite(0, new byte[4096]));
        Assert.SkipUnless(((IExtentDisk)disk).TryMapExtent(0, 512, out FileExtent extent), "this host's file system does not tell what it has in memory");
        Assert.Equal(-1, Flock(extent.File, ExclusiveLock | DoNotWait)); // By flock(2), one that has it would get it once more.
        extent.Release();
        Assert.True(disk.TryFlush());
    }

    private string Make(DiskFormat format)
    {
        string path = Path.Combine(_folder, format == DiskFormat.Raw ? "disk" : "disk.qcow2");
        DiskFiles.Create(path, new NewDisk { Size = 1 << 20, Format = format });
        return path;
    }

    private static int CountOpenings(string path, Action action)
    {
        using SafeFileHandle events = WatchFor(path, Opened | Closed);
        action();
        byte[] buffer = new byte[64 * EventSize]; // Without names, for it is a file that is watched.
        int length = (int)Read(events, buffer, buffer.Length);
        int count = 0;
        for (int at = 0; at < length; at += EventSize)
        {
            count += (BinaryPrimitives.ReadUInt32LittleEndian(buffer.AsSpan(at + 4)) & Opened) != 0 ? 1 : 0;
        }

        return count;
    }

    private static SafeFileHandle WatchFor(string path, uint what)
    {
        var events = new SafeFileHandle(Watch(CloseOnExecAndNonBlocking), ownsHandle: true);
        Assert.True(AddWatch(events, path, what) > 0);
        return events;
    }

    [LibraryImport("libc", EntryPoint = "flock")]
    private static partial int Flock(SafeFileHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "inotify_init1")]
    private static partial int Watch(int flags);

    [LibraryImport("libc", EntryPoint = "inotify_add_watch", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int AddWatch(SafeFileHandle events, string path, uint mask);

    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint Read(SafeFileHandle events, [Out] byte[] buffer, nint length);
}
