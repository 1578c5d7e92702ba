namespace Yadokari.Tests;

/// <summary>
/// The smallest guest: a ROM of real-mode code that sends back on the serial port what comes there. It powers off at 'q' or when the power button is
/// pressed, asks for a reset at 'r', and sends 'f' without end once it got one.
/// </summary>
internal static class EchoFirmware
{
    private static readonly byte[] s_code = Convert.FromHexString(
        "BA0006" + "ED" + "F6C401" + "752B" // next: mov dx,PM1 status; in ax,dx; test ah,power button; jnz off
        + "BAFD03" + "EC" + "A801" + "74EF" //       mov dx,line status; in al,dx; test al,data ready; jz next
        + "BAF803" + "EC"                   //       mov dx,data; in al,dx
        + "3C71" + "741B"                   //       cmp al,'q'; je off
        + "3C72" + "7421"                   //       cmp al,'r'; je reset
        + "88C3"                            //       mov bl,al
        + "BAFD03" + "EC" + "A820" + "74FB" // send: mov dx,line status; wait: in al,dx; test al,transmitter empty; jz wait
        + "88D8" + "BAF803" + "EE"          //       mov al,bl; mov dx,data; out dx,al
        + "80FB66" + "74ED"                 //       cmp bl,'f'; je send
        + "EBCC"                            //       jmp next
        + "B80034" + "BA0406" + "EF"        // off:  mov ax,sleep type 5 and enable; mov dx,PM1 control; out dx,ax
        + "F4" + "EBFD"                     //       hlt; jmp to it
        + "B006" + "BAF90C" + "EE"          // reset: mov al,6; mov dx,reset control; out dx,al
        + "F4" + "EBFD");                   //       hlt; jmp to it

    /// <summary>Writes the ROM.</summary>
    public static void Write(string path)
    {
        byte[] rom = new byte[64 << 10];
        s_code.CopyTo(rom, 0);
        Convert.FromHexString("BAFC03" + "B003" + "EE" + "EA000000F0").CopyTo(rom, 0x100); // mov dx,modem control; mov al,DTR and RTS; out dx,al; jmp F000:0000
        Convert.FromHexString("EA000100F0").CopyTo(rom, 0xFFF0); // jmp F000:0100, where the processor starts.
        File.WriteAllBytes(path, rom);
    }
}
