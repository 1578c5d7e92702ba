using System.Text;
using Yadokari.Core.Files;

namespace Yadokari.Machines.Tests;

public sealed class CpioWriterTests
{
    [Fact]
    public void Folders_above_an_entry_are_added_once()
    {
        var output = new MemoryStream();
        var archive = new CpioWriter(output);
        archive.AddFile("a/b/c", 0x1A4, "text"u8);
        archive.AddDirectory("a/b");
        archive.AddSymbolicLink("a/d", "b/c");
        archive.Finish();
        Assert.True(archive.Contains("a/b"));
        Assert.False(archive.Contains("b"));
        Assert.Equal(["a 41ED", "a/b 41ED", "a/b/c 81A4", "a/d A1FF", "TRAILER!!! 0"], Entries(output.ToArray()));
    }

    [Fact]
    public void A_second_file_of_the_same_path_is_refused()
    {
        var archive = new CpioWriter(new MemoryStream());
        archive.AddFile("a", 0x1A4, "text"u8);
        Assert.Throws<ArgumentException>(() => archive.AddSymbolicLink("a", "b"));
    }

    // Each entry's path and mode (buffer-format.rst): a header of 110 characters, the path, the contents, each filled to four bytes.
    private static List<string> Entries(byte[] archive)
    {
        List<string> entries = [];
        for (int at = 0; at < archive.Length;)
        {
            Assert.Equal("070701", Encoding.ASCII.GetString(archive, at, 6));
            int path = Field(11);
            entries.Add($"{Encoding.ASCII.GetString(archive, at + 110, path - 1)} {Field(1):X}");
            at += ((110 + path + 3) & ~3) + ((Field(6) + 3) & ~3);

            int Field(int index) => Convert.ToInt32(Encoding.ASCII.GetString(archive, at + 6 + (index * 8), 8), 16);
        }

        return entries;
    }
}
