using System.Text;
using Yadokari.Devices.Display;

namespace Yadokari.Host.Consoles;

/// <summary>How a text screen is written to standard output.</summary>
internal interface IScreenText
{
    /// <summary>Appends what makes the output show a frame, given what it shows already.</summary>
    void Show(TextFrame frame, StringBuilder output);

    /// <summary>What is to be written so that text may follow.</summary>
    string Leave();
}

/// <summary>The characters of code page 437, as screens show them: the control codes are pictures too.</summary>
internal static class CodePage437
{
    private const string Low = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";

    private const string High =
        "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

    /// <summary>The character of a code.</summary>
    public static char Of(byte code) => code < 0x20 ? Low[code] : code < 0x7F ? (char)code : High[code - 0x7F];
}
