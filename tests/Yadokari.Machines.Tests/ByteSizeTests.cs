using Yadokari.Core.Configuration;

namespace Yadokari.Machines.Tests;

public sealed class ByteSizeTests
{
    [Theory]
    [InlineData("16M", 16UL << 20)]
    [InlineData("512m", 512UL << 20)]
    [InlineData(" 1G ", 1UL << 30)]
    [InlineData("2GiB", 2UL << 30)]
    [InlineData("3tib", 3UL << 40)]
    [InlineData("524288K", 512UL << 20)]
    [InlineData("4096", 4096)]
    [InlineData("0", 0)]
    [InlineData("18446744073709551615", ulong.MaxValue)]
    public void Sizes_are_powers_of_1024(string text, ulong bytes)
    {
        Assert.True(ByteSize.TryParse(text, out ulong size));
        Assert.Equal(bytes, size);
    }

    [Theory]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData("12Q")]
    [InlineData("M")]
    [InlineData("-1M")]
    [InlineData("+1M")]
    [InlineData("1.5G")]
    [InlineData("1 G")]
    [InlineData("1MB")]
    [InlineData("1iB")]
    [InlineData("99999999999999999999M")]
    [InlineData("18446744073709551615T")]
    public void What_is_no_size_is_refused(string text) => Assert.False(ByteSize.TryParse(text, out _));

    [Theory]
    [InlineData(4096, "4096 bytes")]
    [InlineData((5UL << 20) + 1, "5M")]
    [InlineData(2UL << 30, "2G")]
    [InlineData(1536UL << 20, "1536M")]
    [InlineData(900UL << 40, "900T")]
    public void Sizes_are_shown_as_people_write_them(ulong bytes, string text) => Assert.Equal(text, ByteSize.Show(bytes));
}
