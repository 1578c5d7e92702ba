using Xunit;
using Yadokari.Core;

namespace Yadokari.Host.Tests;

public sealed class MemorySizeTests
{
    private const ulong HostMemory = 8UL << 30;

    [Theory]
    [InlineData("16M", 16UL << 20)]
    [InlineData("512m", 512UL << 20)]
    [InlineData("1G", 1UL << 30)]
    [InlineData("2GiB", 2UL << 30)]
    [InlineData("524288K", 512UL << 20)]
    [InlineData("8G", 8UL << 30)]
    public void Sizes(string text, ulong bytes) => Assert.Equal(bytes, MemorySize.Parse(text, HostMemory));

    [Theory]
    [InlineData("12Q", "is not a size")]
    [InlineData("-1M", "is not a size")]
    [InlineData("1.5G", "is not a size")]
    [InlineData("99999999999999999999M", "is not a size")]
    [InlineData("512", "has no unit")]
    [InlineData("0", "is too little")]
    [InlineData("0M", "is too little")]
    [InlineData("3M", "is too little")]
    [InlineData("16385K", "is not a whole number of mebibytes")]
    [InlineData("9G", "is more than this host has (8G)")]
    [InlineData("18446744073709551615T", "is more than this host has (8G)")]
    public void Sizes_that_are_none(string text, string says)
    {
        string message = Assert.Throws<UserErrorException>(() => MemorySize.Parse(text, HostMemory)).Message;
        Assert.Contains($"--memory {text} {says}", message);
        Sentence.Check(message);
    }

    [Fact]
    public void The_host_has_some_memory() => Assert.InRange(MemorySize.OfHost(), MemorySize.Least, 1UL << 50);
}
