using System.Text;

namespace Yadokari.Debugging.Gdb;

/// <summary>The <c>target.xml</c> that describes the registers and their numbers to GDB (GDB manual, appendix G).</summary>
internal static class TargetDescription
{
    private static readonly string[] s_mxcsr =
    [
        "IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM", "", "", "FZ",
    ];

    /// <summary>The whole document.</summary>
    public static string Xml { get; } = Build();

    private static string Build()
    {
        var xml = new StringBuilder();
        xml.Append("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n");
        xml.Append("<architecture>i386:x86-64</architecture>\n");
        foreach (IGrouping<string, GuestRegister> feature in GuestRegisters.All.GroupBy(r => r.Feature))
        {
            xml.Append($"<feature name=\"{feature.Key}\">\n");
            AppendTypes(xml, feature.Key);
            foreach (GuestRegister register in feature)
            {
                string group = register.Type switch
                {
                    "i387_ext" => " group=\"float\"",
                    "int" when register.Name[0] == 'f' && register.Bits == 32 => " group=\"float\"",
                    "vec128" => " group=\"vector\"",
                    "mxcsr" => " group=\"vector\"",
                    "uint128" => " group=\"vector\"",
                    _ => "",
                };
                xml.Append($"<reg name=\"{register.Name}\" bitsize=\"{register.Bits}\" type=\"{register.Type}\"{group}/>\n");
            }

            xml.Append("</feature>\n");
        }

        return xml.Append("</target>\n").ToString();
    }

    private static void AppendTypes(StringBuilder xml, string feature)
    {
        switch (feature)
        {
            case GuestRegisters.Core:
                AppendFlags(xml, "eflags", 4, RegisterBits.Rflags);
                break;
            case GuestRegisters.System:
                AppendFlags(xml, "cr0_flags", 8, RegisterBits.Cr0);
                AppendFlags(xml, "cr4_flags", 8, RegisterBits.Cr4);
                AppendFlags(xml, "efer_flags", 8, RegisterBits.Efer);
                break;
            case GuestRegisters.Sse:
                foreach ((string id, string type, int count) in new[]
                {
                    ("v4f", "ieee_single", 4), ("v2d", "ieee_double", 2), ("v16i8", "int8", 16), ("v8i16", "int16", 8), ("v4i32", "int32", 4),
                    ("v2i64", "int64", 2),
                })
                {
                    xml.Append($"<vector id=\"{id}\" type=\"{type}\" count=\"{count}\"/>\n");
                }

                xml.Append("<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>");
                xml.Append("<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>");
                xml.Append("<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>");
                xml.Append("<field name=\"uint128\" type=\"uint128\"/></union>\n");
                AppendFlags(xml, "mxcsr", 4, s_mxcsr);
                break;
        }
    }

    private static void AppendFlags(StringBuilder xml, string id, int size, IReadOnlyList<string> bits)
    {
        xml.Append($"<flags id=\"{id}\" size=\"{size}\">\n");
        for (int i = 0; i < bits.Count; i++)
        {
            if (bits[i].Length > 0)
            {
                xml.Append($"<field name=\"{bits[i]}\" start=\"{i}\" end=\"{i}\"/>\n");
            }
        }

        xml.Append("</flags>\n");
    }
}
