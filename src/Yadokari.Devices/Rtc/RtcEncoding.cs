namespace Yadokari.Devices.Rtc;

/// <summary>How an MC146818 writes time into its registers: binary or BCD, 24 or 12 hours with bit 7 for the afternoon.</summary>
internal readonly struct RtcEncoding(bool binary, bool twentyFourHours)
{
    private const byte Afternoon = 0x80;

    /// <summary>From here up, an alarm byte matches anything.</summary>
    private const byte DontCare = 0xC0;

    /// <summary>The registers that hold the time.</summary>
    public static ReadOnlySpan<byte> Fields => [0, 2, 4, 6, 7, 8, 9, 0x32];

    /// <summary>A field of a time.</summary>
    public byte Field(DateTime time, int register) => register switch
    {
        0 => Encode(time.Second),
        2 => Encode(time.Minute),
        4 => EncodeHour(time.Hour),
        6 => Encode((int)time.DayOfWeek + 1),
        7 => Encode(time.Day),
        8 => Encode(time.Month),
        9 => Encode(time.Year % 100),
        _ => Encode(time.Year / 100),
    };

    /// <summary>The time in the registers; what makes no sense is brought into range.</summary>
    public DateTime Decode(ReadOnlySpan<byte> registers)
    {
        int year = Math.Clamp((Decode(registers[0x32]) * 100) + Decode(registers[9]), 1, 9999);
        int month = Math.Clamp(Decode(registers[8]), 1, 12);
        int day = Math.Clamp(Decode(registers[7]), 1, DateTime.DaysInMonth(year, month));
        return new DateTime(
            year,
            month,
            day,
            Math.Min(DecodeHour(registers[4]), 23),
            Math.Min(Decode(registers[2]), 59),
            Math.Min(Decode(registers[0]), 59),
            DateTimeKind.Utc);
    }

    /// <summary>The first second of a day, from a given one on, that matches the alarm registers (1, 3, 5); -1 if none does.</summary>
    public int NextAlarm(ReadOnlySpan<byte> registers, int from)
    {
        int second = registers[1] >= DontCare ? -1 : Decode(registers[1]);
        int minute = registers[3] >= DontCare ? -1 : Decode(registers[3]);
        int hour = registers[5] >= DontCare ? -1 : DecodeHour(registers[5]);
        for (int h = from / 3600; h < 24; h++)
        {
            if (hour >= 0 && hour != h)
            {
                continue;
            }

            for (int m = Math.Max(from - (h * 3600), 0) / 60; m < 60; m++)
            {
                int first = (h * 3600) + (m * 60);
                int s = second >= 0 ? second : Math.Max(from - first, 0);
                if ((minute < 0 || minute == m) && s < 60 && first + s >= from)
                {
                    return first + s;
                }
            }
        }

        return -1;
    }

    private byte Encode(int value) => (byte)(binary ? value : (value / 10 << 4) | (value % 10));

    private int Decode(byte value) => binary ? value : ((value >> 4) * 10) + (value & 0xF);

    private byte EncodeHour(int hour)
    {
        if (twentyFourHours)
        {
            return Encode(hour);
        }

        byte twelve = Encode(hour % 12 == 0 ? 12 : hour % 12);
        return hour < 12 ? twelve : (byte)(twelve | Afternoon);
    }

    private int DecodeHour(byte value) => twentyFourHours
        ? Decode(value)
        : (Decode((byte)(value & ~Afternoon)) % 12) + ((value & Afternoon) != 0 ? 12 : 0);
}
