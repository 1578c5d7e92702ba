using Xunit;
using Yadokari.Core;
using Yadokari.Host.Instances;

namespace Yadokari.Host.Tests;

public sealed class MachineNameTests
{
    [Theory]
    [InlineData("debian")]
    [InlineData("0.a_b-c")]
    public void Good_names(string name) => Assert.Equal(name, MachineName.Check(name));

    [Theory]
    [InlineData("")]
    [InlineData("-a")]
    [InlineData(".a")]
    [InlineData("a/b")]
    [InlineData("Ä")]
    [InlineData("a\n")]
    public void Bad_names(string name) => Sentence.Check(Assert.Throws<UserErrorException>(() => MachineName.Check(name)).Message);

    [Fact]
    public void Names_from_other_text()
    {
        Assert.Equal("my-web", MachineName.From("My Web"));
        Assert.Equal("machine", MachineName.From("--"));
        Assert.Equal("a-b", MachineName.HostName("a_b-"));
        Assert.Equal(["debian"], MachineName.Near("debain", ["debian", "web"]));
        Assert.Equal(["debian-2", "debian"], MachineName.Near("debian-1", ["debian", "debian-2", "web"]));
    }
}
