using Iced.Intel;

namespace Yadokari.X86.Sensitive;

/// <summary>How an instruction stands to virtualization, in the terms of Popek and Goldberg (1974).</summary>
public enum SensitivityClass : byte
{
    /// <summary>Neither reads nor changes what belongs to the monitor: may run on the processor as it is.</summary>
    Innocuous,

    /// <summary>
    /// Sensitive, but does not trap in user mode: it would run and give a wrong result. These are what kept IA-32 from being
    /// virtualizable by trapping alone (Robin and Irvine 2000).
    /// </summary>
    UnprivilegedSensitive,

    /// <summary>Sensitive, and traps in user mode: what a monitor that only traps and emulates lives by.</summary>
    Privileged,
}

/// <summary>An entry of the table of sensitive instructions.</summary>
/// <param name="Mnemonic">The instruction. An entry may cover only some of its forms: those of MOV with a segment register, say.</param>
/// <param name="Class">Never <see cref="SensitivityClass.Innocuous"/>.</param>
/// <param name="Reason">Why it is sensitive, in one phrase.</param>
/// <param name="Source">Where that is written.</param>
/// <param name="Forms">The forms meant, or an empty string for all.</param>
public sealed record SensitiveInstruction(Mnemonic Mnemonic, SensitivityClass Class, string Reason, string Source, string Forms = "");
