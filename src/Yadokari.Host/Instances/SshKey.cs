using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Yadokari.Host.Instances;

/// <summary>The ssh key for logging in to machines. Made once, and used for nothing else.</summary>
internal static class SshKey
{
    private const string Type = "ecdsa-sha2-nistp256";

    /// <summary>The private key's file.</summary>
    public static string File => Path.Combine(MachineFolder.DataFolder, "ssh", "id_ecdsa");

    /// <summary>The public key as a line of authorized_keys. Makes the key pair if it does not exist.</summary>
    public static string FindOrMake() => FindOrMake(File);

    /// <summary>As <see cref="FindOrMake()"/>, with the private key in a given file.</summary>
    public static string FindOrMake(string file)
    {
        string publicFile = file + ".pub";
        if (!System.IO.File.Exists(publicFile))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            string made = $"{file}.{Environment.ProcessId}";
            using (var stream = new FileStream(made, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
            {
                stream.Write(Encoding.ASCII.GetBytes(key.ExportECPrivateKeyPem() + "\n"));
            }

            System.IO.File.WriteAllText(made + ".pub", PublicLine(key.ExportParameters(includePrivateParameters: false)) + "\n");
            System.IO.File.Move(made, file, overwrite: true);
            System.IO.File.Move(made + ".pub", publicFile, overwrite: true);
        }

        return System.IO.File.ReadAllText(publicFile).Trim();
    }

    // RFC 5656, 3.1: type, curve and point, each after its length.
    private static string PublicLine(ECParameters key)
    {
        using var blob = new MemoryStream();
        Part(Encoding.ASCII.GetBytes(Type));
        Part("nistp256"u8);
        Part([4, .. key.Q.X!, .. key.Q.Y!]);
        return $"{Type} {Convert.ToBase64String(blob.ToArray())} yadokari";

        void Part(ReadOnlySpan<byte> part)
        {
            Span<byte> length = stackalloc byte[4];
            BinaryPrimitives.WriteInt32BigEndian(length, part.Length);
            blob.Write(length);
            blob.Write(part);
        }
    }
}
