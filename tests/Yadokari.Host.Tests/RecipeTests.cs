using Xunit;
using Yadokari.Core;
using Yadokari.Host.Recipes;

namespace Yadokari.Host.Tests;

public sealed class RecipeTests
{
    private static string Refusal(Action action)
    {
        string message = Assert.Throws<UserErrorException>(action).Message;
        Sentence.Check(message);
        return message;
    }

    [Fact]
    public void A_recipe_in_yaml_and_in_json()
    {
        Recipe yaml = Recipe.Parse("boxes/My Web.yaml", "suite: trixie\nmirror: http://mirror.example/debian/\npackages: [nginx, php-fpm]\nkernel: generic\nsize: 12G\n");
        Recipe json = Recipe.Parse(
            "boxes/My Web.json", """{"suite": "trixie", "mirror": "http://mirror.example/debian", "packages": ["nginx", "php-fpm"], "kernel": "generic", "size": "12G"}""");
        Assert.Equal(("my-web", "trixie", "http://mirror.example/debian", 12L << 30), (yaml.Name, yaml.Suite, yaml.Mirror, yaml.Size));
        Assert.Equal(yaml.Fingerprint, json.Fingerprint);
        Assert.Contains("linux-image-amd64", yaml.AllPackages);
        Assert.Contains("nginx", yaml.AllPackages);
    }

    [Fact]
    public void Whatever_goes_into_an_image_tells_it_apart()
    {
        Recipe plain = Recipe.Find("debian");
        Recipe[] others = [plain with { Suite = "trixie" }, plain with { Mirror = "http://m.example" }, plain with { Packages = ["gcc"] }, plain with { Kernel = "generic" }, plain with { Size = 3L << 30 }];
        Assert.Equal(others.Length + 1, others.Append(plain).Select(r => r.Fingerprint).Distinct().Count());
        Assert.Equal(plain.Fingerprint, Recipe.Parse("other.yaml", "size: 8G").Fingerprint);
    }

    [Theory]
    [InlineData("sweet: bookworm", "'sweet'")]
    [InlineData("suite: 'book worm'", "'book worm'")]
    [InlineData("suite:", "suite")]
    [InlineData("packages: gcc", "no list")]
    [InlineData("packages: ['$(reboot)']", "'$(reboot)'")]
    [InlineData("kernel: xen", "'xen'")]
    [InlineData("mirror: ftp://x", "'ftp://x'")]
    [InlineData("size: 1G", "1G")]
    [InlineData("size: big", "big")]
    [InlineData("[suite]", "no members")]
    [InlineData("", "no members")]
    [InlineData("suite: bookworm\n  mirror: [", "line 2")]
    public void What_is_no_recipe(string text, string says) => Assert.Contains(says, Refusal(() => Recipe.Parse("r.yaml", text)));

    [Fact]
    public void A_recipe_that_is_not_there() => Assert.Contains("'debain'", Refusal(() => Recipe.Find("debain")));

    [Theory]
    [InlineData("#cloud-config\nhostname: box\nwrite_files:\n  - {path: /a, content: b}\n")]
    [InlineData("#cloud-config\n")]
    [InlineData("#!/bin/sh\nexit 1\n")]
    [InlineData("Content-Type: multipart/mixed; boundary=x\n")]
    public void User_data_that_cloud_init_takes(string text) => UserData.Check("f", text);

    [Theory]
    [InlineData("#cloud-config\nhostname: box\nruncmd: [a\nb: c\n", "line ")]
    [InlineData("#cloud-config\n- a\n", "members")]
    [InlineData("hostname: box\n", "'#cloud-config'")]
    [InlineData("", "'#cloud-config'")]
    [InlineData("#cloud-config\na: 1\n---\nb: 2\n", "second document")]
    [InlineData("#cloud-config\na: *b\n", "anchor")]
    [InlineData("#cloud-config\na: 1\na: 2\n", "line ")]
    public void User_data_that_it_does_not(string text, string says) => Assert.Contains(says, Refusal(() => UserData.Check("f", text)));

    [Fact]
    public void User_data_without_a_bottom() => Assert.Contains("too deep", Refusal(() => UserData.Check("f", "#cloud-config\na: " + new string('[', 500_000))));

    [Theory]
    [InlineData("2G", 2L << 30)]
    [InlineData("2048m", 2L << 30)]
    [InlineData("1T", 1L << 40)]
    public void Sizes_of_disks(string text, long bytes) => Assert.Equal(bytes, DiskSize.Parse("--disk-size", text));

    [Theory]
    [InlineData("")]
    [InlineData("8")]
    [InlineData("8Q")]
    [InlineData("-8G")]
    [InlineData("1G")]
    [InlineData("99999999999T")]
    public void What_is_no_size_of_a_disk(string text) => Refusal(() => DiskSize.Parse("--disk-size", text));
}
