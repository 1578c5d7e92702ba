using System.Text;
using Yadokari.Devices.Display;

namespace Yadokari.Host.Consoles;

/// <summary>Writes a text screen to standard output.</summary>
internal interface IScreenText
{
    /// <summary>Appends the text that updates the output from the last frame to this one.</summary>
    void Show(TextFrame frame, StringBuilder output);

    /// <summary>The text to write before other text may follow the screen.</summary>
    string Leave();
}

/// <summary>The characters of code page 437 as VGA text mode shows them: control codes have glyphs too.</summary>
internal static class CodePage437
{
    private const string Low = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";

    private const string High =
        "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

    /// <summary>The character of a code.</summary>
    public static char Of(byte code) => code < 0x20 ? Low[code] : code < 0x7F ? (char)code : High[code - 0x7F];
}
