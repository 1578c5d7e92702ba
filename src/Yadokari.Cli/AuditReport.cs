using System.Globalization;
using System.Text;
using System.Text.Json;
using Iced.Intel;
using Yadokari.Translation;
using Yadokari.X86.Audit;
using Yadokari.X86.Sensitive;

namespace Yadokari.Cli;

/// <summary>Writes an audit as tables or as JSON.</summary>
internal static class AuditReport
{
    private static readonly SensitivityClass[] s_classes =
        [SensitivityClass.Privileged, SensitivityClass.UnprivilegedSensitive, SensitivityClass.Innocuous];

    /// <summary>Prints tables for people.</summary>
    public static void WriteTables(string path, IReadOnlyList<CodeSection> sections, SensitiveAudit audit, bool list, TextWriter output)
    {
        output.WriteLine(Invariant($"{path}: {audit.Instructions:N0} instructions in {audit.Bytes:N0} bytes of {sections.Count} sections"));
        output.WriteLine();
        output.WriteLine("                                               translate:                                                       kvm:");
        output.WriteLine("class                          count     share       copied     expanded       inline     emulated      refused");
        foreach (SensitivityClass sensitivity in s_classes)
        {
            long count = audit.CountOf(sensitivity);
            double share = audit.Instructions == 0 ? 0 : (double)count / audit.Instructions;
            long[] treated = Treated(audit, sensitivity);
            output.WriteLine(Invariant(
                $"{Name(sensitivity),-22}  {count,12:N0}  {share,8:P3}  {treated[0],11:N0}  {treated[1],11:N0}  {treated[2],11:N0}  {treated[3],11:N0}  {treated[4],11:N0}  {Kvm(sensitivity)}"));
        }

        output.WriteLine();
        output.WriteLine("copied: run by the processor, registers renamed and memory operand redirected; expanded: near jumps, calls, returns, pushes,");
        output.WriteLine("pops and address arithmetic, which the translator writes anew; inline: as expanded in the common case, else emulated; emulated: in C#; refused: #UD, as on");
        output.WriteLine("processors without it. In user code that runs directly an instruction below traps, or runs on state of the guest's own; a page that");
        output.WriteLine("holds one that would show the host is translated.");

        foreach (SensitivityClass sensitivity in s_classes[..2])
        {
            SensitiveCount[] counts = [.. audit.Counts.Where(c => c.Entry.Class == sensitivity)];
            if (counts.Length == 0)
            {
                continue;
            }

            output.WriteLine();
            output.WriteLine($"{Name(sensitivity)}:");
            foreach (SensitiveCount count in counts)
            {
                output.WriteLine(Invariant($"  {Title(count.Entry),-36}  {count.Count,10:N0}  {Translate(audit, count.Entry),-8}  {Direct(count.Entry),-10}  {count.Entry.Reason} ({count.Entry.Source})"));
            }
        }

        if (audit.Padding != 0)
        {
            output.WriteLine();
            output.WriteLine(Invariant($"{audit.Padding:N0} bytes of int3 fill gaps between functions and are not counted."));
        }

        if (audit.Undecodable != 0)
        {
            output.WriteLine();
            output.WriteLine(Invariant($"{audit.Undecodable:N0} bytes between instructions are not valid instructions: data in the code section."));
        }

        if (list)
        {
            output.WriteLine();
            foreach (SensitiveFinding finding in audit.Findings)
            {
                SensitiveInstruction entry = SensitiveInstructions.Find(finding.Code)!;
                output.WriteLine($"{finding.Address:x16}  {Name(entry.Class),-22}  {Title(entry)}");
            }
        }
    }

    /// <summary>Prints one JSON object.</summary>
    public static void WriteJson(string path, IReadOnlyList<CodeSection> sections, SensitiveAudit audit, bool list, TextWriter output)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("file", path);
            json.WriteNumber("bytes", audit.Bytes);
            json.WriteNumber("instructions", audit.Instructions);
            json.WriteNumber("padding", audit.Padding);
            json.WriteNumber("undecodable", audit.Undecodable);
            json.WriteStartArray("sections");
            foreach (CodeSection section in sections)
            {
                json.WriteStartObject();
                json.WriteString("name", section.Name);
                json.WriteString("address", Invariant($"0x{section.Address:x}"));
                json.WriteNumber("bytes", section.Bytes.Length);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("classes");
            foreach (SensitivityClass sensitivity in s_classes)
            {
                json.WriteStartObject();
                json.WriteString("class", Name(sensitivity));
                json.WriteNumber("count", audit.CountOf(sensitivity));
                json.WriteStartObject("translate");
                long[] treated = Treated(audit, sensitivity);
                foreach (InstructionTreatment treatment in Enum.GetValues<InstructionTreatment>())
                {
                    json.WriteNumber(Name(treatment), treated[(int)treatment]);
                }

                json.WriteEndObject();
                json.WriteString("kvm", Kvm(sensitivity));
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("sensitive");
            foreach (SensitiveCount count in audit.Counts)
            {
                json.WriteStartObject();
                json.WriteString("instruction", Title(count.Entry));
                json.WriteString("class", Name(count.Entry.Class));
                json.WriteNumber("count", count.Count);
                json.WriteString("translate", Translate(audit, count.Entry));
                json.WriteString("direct", Direct(count.Entry));
                json.WriteString("reason", count.Entry.Reason);
                json.WriteString("source", count.Entry.Source);
                if (list)
                {
                    json.WriteStartArray("addresses");
                    foreach (SensitiveFinding finding in audit.Findings.Where(f => SensitiveInstructions.Find(f.Code) == count.Entry))
                    {
                        json.WriteStringValue(Invariant($"0x{finding.Address:x}"));
                    }

                    json.WriteEndArray();
                }

                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        output.WriteLine(Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length));
    }

    private static string Name(SensitivityClass sensitivity) => sensitivity switch
    {
        SensitivityClass.Privileged => "privileged",
        SensitivityClass.UnprivilegedSensitive => "unprivileged-sensitive",
        _ => "innocuous",
    };

    private static string Title(SensitiveInstruction entry)
    {
        string name = entry.Mnemonic.ToString().ToLowerInvariant();
        return entry.Forms.Length == 0 ? name : $"{name} ({entry.Forms})";
    }

    private static string Name(InstructionTreatment treatment) => treatment.ToString().ToLowerInvariant();

    /// <summary>Counts the instructions of a class by their treatment in the translation engine.</summary>
    private static long[] Treated(SensitiveAudit audit, SensitivityClass sensitivity)
    {
        long[] counts = new long[Enum.GetValues<InstructionTreatment>().Length];
        foreach (Code code in Enum.GetValues<Code>().Where(code => SensitiveInstructions.Classify(code) == sensitivity))
        {
            counts[(int)InstructionTreatments.Of(code)] += audit.CountOf(code);
        }

        return counts;
    }

    /// <summary>The translation engine's treatment of those forms of an entry that were found.</summary>
    private static string Translate(SensitiveAudit audit, SensitiveInstruction entry) => string.Join(", ", Enum.GetValues<Code>()
        .Where(code => SensitiveInstructions.Find(code) == entry && audit.CountOf(code) != 0).Select(code => Name(InstructionTreatments.Of(code))).Distinct());

    /// <summary>The treatment of an instruction in user code that runs directly.</summary>
    private static string Direct(SensitiveInstruction entry) => entry.Direct == DirectUse.ShowsHost ? "translated" : Name(entry.Direct);

    private static string Name(DirectUse use) => use.ToString().ToLowerInvariant();

    /// <summary>The treatment with hardware virtualization: the processor separates guest and host state and traps on the instructions that the hypervisor selects.</summary>
    private static string Kvm(SensitivityClass sensitivity) => sensitivity switch
    {
        SensitivityClass.Privileged => "runs on guest state, or traps where the kernel asks (I/O, MSRs, HLT, ...)",
        SensitivityClass.UnprivilegedSensitive => "runs on guest state; CPUID and hypercalls trap",
        _ => "runs",
    };

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
