using System.CommandLine;
using Yadokari.Core;
using Yadokari.Core.Files;
using Yadokari.Host.Consoles;
using Yadokari.X86.Audit;

namespace Yadokari.Cli;

/// <summary><c>yado audit</c>: lists the instructions of a program or kernel that an engine must emulate.</summary>
internal static class AuditCommand
{
    private static readonly Argument<string> s_file = new("FILE") { Description = "ELF file or kernel image (bzImage)" };
    private static readonly Option<bool> s_list = new("--list") { Description = "Print the address of every sensitive instruction" };
    private static readonly Option<bool> s_json = new("--json") { Description = "Print JSON instead of tables" };

    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        var command = new Command("audit", "Counts the sensitive instructions in a program or kernel, and shows how engines treat them")
        {
            s_file, s_list, s_json,
        };
        command.SetAction(result =>
        {
            Run(result.GetValue(s_file)!, result.GetValue(s_list), result.GetValue(s_json), StandardStreams.Output);
            return 0;
        });
        return command;
    }

    /// <summary>Audits a file and prints the result.</summary>
    /// <exception cref="UserErrorException">The file can't be read, or is neither ELF for x86 nor a kernel image.</exception>
    internal static void Run(string path, bool list, bool json, TextWriter output)
    {
        byte[] file = ReadFile(path);
        IReadOnlyList<CodeSection> sections = ElfCode.Read(path, ElfFile.IsElf(file) ? file : AuditKernel.Unpack(path, file));
        var audit = new SensitiveAudit(list);
        foreach (CodeSection section in sections)
        {
            audit.Add(section);
        }

        if (json)
        {
            AuditReport.WriteJson(path, sections, audit, list, output);
        }
        else
        {
            AuditReport.WriteTables(path, sections, audit, list, output);
        }
    }

    private static byte[] ReadFile(string path)
    {
        try
        {
            byte[] file = Directory.Exists(path) ? throw new UserErrorException($"'{path}' is a folder: give an ELF file or a kernel image.")
                : File.ReadAllBytes(path);
            return file.Length != 0 ? file : throw new UserErrorException($"'{path}' is empty: give an ELF file or a kernel image.");
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException or ArgumentException)
        {
            throw new UserErrorException($"'{path}' does not exist: check the path.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"'{path}' can't be read ({error.Message.TrimEnd('.')}): check the file and its permissions.");
        }
    }
}
