using Yadokari.Core;
using YamlDotNet.RepresentationModel;

namespace Yadokari.Host.Recipes;

/// <summary>Reads and checks the user's data for cloud-init. Checked on the host, because cloud-init reports errors only in the guest's logs.</summary>
public static class UserData
{
    private const string Header = "#cloud-config";
    private const int MaxSize = 1 << 20;

    // https://cloudinit.readthedocs.io/en/22.4.2/topics/format.html
    private static readonly string[] s_others =
        ["#!", "#include", "#cloud-config-archive", "#cloud-boothook", "#part-handler", "#cloud-config-jsonp", "## template:", "Content-Type: multipart", "MIME-Version:"];

    /// <summary>Reads a file of user data.</summary>
    /// <exception cref="UserErrorException">The file can't be read, or cloud-init would not accept it.</exception>
    public static byte[] Read(string path)
    {
        byte[] content;
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: > MaxSize })
            {
                throw new UserErrorException($"--user-data {path} is more than a mebibyte: have cloud-init fetch the rest.");
            }

            content = File.ReadAllBytes(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"--user-data {path} can't be read ({error.Message.TrimEnd('.')}): give a file with data for cloud-init.");
        }

        Check(path, System.Text.Encoding.UTF8.GetString(content));
        return content;
    }

    /// <summary>Checks user data.</summary>
    /// <exception cref="UserErrorException">cloud-init would not accept it.</exception>
    public static void Check(string path, string text)
    {
        string first = text.Split('\n', 2)[0].TrimEnd();
        if (first != Header)
        {
            if (!s_others.Any(o => text.StartsWith(o, StringComparison.OrdinalIgnoreCase)))
            {
                throw new UserErrorException($"--user-data {path} begins with neither '{Header}' nor '#!': begin the first line with one of them, by which cloud-init detects the format.");
            }

            return;
        }

        YamlNode? root = YamlText.Read(text, (line, reason) => new UserErrorException($"--user-data {path} is no YAML, line {line}: {reason}."));
        if (root is not (null or YamlMappingNode or YamlScalarNode { Value: null or "" }))
        {
            throw new UserErrorException($"--user-data {path} does not hold the members of a cloud-config: write them as 'hostname: box', a line each.");
        }
    }
}
