using System.Text;
using Yadokari.Host.Recipes;

namespace Yadokari.Host.Instances;

/// <summary>
/// The volume from which cloud-init reads a machine's identity and configuration (its data source NoCloud). Our configuration is the vendor
/// data, because the user's own data overrides vendor data.
/// </summary>
public static class CloudSeed
{
    /// <summary>The user that can log in, as in Debian's cloud images. Can become root by sudo without a password.</summary>
    public const string User = "debian";

    /// <summary>Builds the volume.</summary>
    /// <param name="name">The machine's name.</param>
    /// <param name="instance">A unique id, which differs from that of any other machine, also of an earlier one with the same name.</param>
    /// <param name="key">A line of authorized_keys.</param>
    /// <param name="password">The user's password on the console; sshd accepts no passwords.</param>
    /// <param name="userData">The user's own data, or null.</param>
    public static byte[] Make(string name, string instance, string key, string password, byte[]? userData) => IsoImage.Make("CIDATA",
    [
        ("meta-data", Text($"instance-id: {instance}\nlocal-hostname: {MachineName.HostName(name)}\n")),
        ("network-config", Text(
            """
            version: 2
            ethernets:
              virtio:
                match:
                  driver: virtio_net
                dhcp4: true

            """)),
        ("user-data", userData ?? Text("#cloud-config\n{}\n")),
        ("vendor-data", Text(
            $"""
            #cloud-config
            user:
              name: {User}
              lock_passwd: false
              plain_text_passwd: {password}
            ssh_pwauth: false
            ssh_authorized_keys:
              - {key}
            ssh:
              emit_keys_to_console: false
            write_files:
              - path: /etc/issue.d/yadokari.issue
                content: |
                  Log in as '{User}', at first with the password '{password}'.

            """)),
    ]);

    private static byte[] Text(string text) => Encoding.UTF8.GetBytes(text);
}
