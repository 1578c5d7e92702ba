using System.Buffers.Binary;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Buses;
using Yadokari.Core.Disks;
using Yadokari.Devices.Storage;
using Yadokari.Disks;

namespace Yadokari.Devices.Tests;

/// <summary>Drives on an IDE channel as a driver sees them: ATA/ATAPI-6.</summary>
public sealed class AtaTests : IDisposable
{
    private const byte Ready = 0x50, DataRequest = 0x58, Error = 0x51;

    private readonly string _file = Path.GetTempFileName();
    private readonly Line _irq = new();
    private IDisk? _image;
    private AtaChannel _channel = null!;

    /// <inheritdoc/>
    public void Dispose()
    {
        _image?.Dispose();
        File.Delete(_file);
    }

    [Fact]
    public void A_disk_says_what_it_is()
    {
        Disk(100_000);
        Command(0xEC);
        byte[] answer = ReadData(512);
        Assert.Equal(Ready, Status());
        Assert.Equal(100_000u, BinaryPrimitives.ReadUInt32LittleEndian(answer.AsSpan(120)));
        Assert.Equal(100_000ul, BinaryPrimitives.ReadUInt64LittleEndian(answer.AsSpan(200)));
        Assert.Equal((99, 16, 63), (Word(answer, 1), Word(answer, 3), Word(answer, 6)));
        Assert.StartsWith("aYodakird si k", Encoding.ASCII.GetString(answer, 54, 14));
    }

    [Theory]
    [InlineData(0x20, 1)]
    [InlineData(0xC4, 16)]
    public void Sectors_are_read_block_by_block_with_an_interrupt_each(byte command, int block)
    {
        Disk(100);
        _irq.Rises = 0;
        Address(lba: 40, count: 20);
        Command(command);
        byte[] data = ReadData(20 * 512);
        Assert.Equal(Sectors(40, 20), data);
        Assert.Equal(Ready, Status());

        // One for each block, and none for the end.
        Assert.InRange(_irq.Rises, (20 + block - 1) / block, ((20 + block - 1) / block) + 1);
    }

    [Fact]
    public void Sectors_are_found_by_48_bits_and_by_cylinder_head_and_sector()
    {
        Disk(5000);
        foreach ((int low, byte expected) in (ReadOnlySpan<(int, byte)>)[(0x87, DataRequest), (0x88, Error)])
        {
            // Each register twice: first bits 24 and up, then those below.
            foreach ((ulong register, int value) in (ReadOnlySpan<(ulong, int)>)[(2, 0), (2, 1), (3, 0), (3, low), (4, 0), (4, 0x13), (5, 0), (5, 0), (6, 0x40)])
            {
                Write(register, (byte)value);
            }

            Command(0x24);
            Assert.Equal(expected, Status());
            if (expected == DataRequest)
            {
                Assert.Equal(Sectors(0x1387, 1), ReadData(512));
            }
        }

        // Cylinder 1, head 2, sector 3.
        Write(2, 1);
        Write(3, 3);
        Write(4, 1);
        Write(5, 0);
        Write(6, 2);
        Command(0x20);
        Assert.Equal(Sectors((((1 * 16) + 2) * 63) + 2, 1), ReadData(512));
    }

    [Fact]
    public void What_is_written_is_in_the_file()
    {
        Disk(100);
        Address(lba: 7, count: 2);
        Command(0x30);
        byte[] data = [.. Enumerable.Range(0, 1024).Select(i => (byte)(i * 7))];
        Assert.Equal(DataRequest, Status());
        WriteData(data);
        Assert.Equal(Ready, Status());
        Command(0xE7);
        Assert.Equal(Ready, Status());
        _image!.Dispose();
        Assert.Equal(data, File.ReadAllBytes(_file)[(7 * 512)..(9 * 512)]);
    }

    [Fact]
    public void Beyond_the_end_and_unknown_commands_are_errors()
    {
        Disk(100);
        Address(lba: 99, count: 2);
        Command(0x20);
        Assert.Equal((Error, (byte)0x10), (Status(), Read(1)));
        Command(0xFA);
        Assert.Equal((Error, (byte)0x04), (Status(), Read(1)));
    }

    [Fact]
    public void A_disk_that_is_only_read_refuses_writes()
    {
        Disk(100, readOnly: true);
        Address(lba: 7, count: 1);
        Command(0x30);
        Assert.Equal((Error, (byte)0x04), (Status(), Read(1)));
    }

    [Fact]
    public void A_drive_that_is_not_there_has_no_status()
    {
        Disk(100);
        Write(6, 0x10);
        Assert.Equal(0, Status());
        Command(0xEC);
        Assert.Equal(0, Status());
    }

    [Fact]
    public void A_reset_shows_what_kind_of_drive_it_is()
    {
        Cdrom(10);
        _channel.Control.Write(0, [4]);
        Assert.Equal(0x80, Status());
        _channel.Control.Write(0, [0]);
        Assert.Equal((Ready, (byte)0x14, (byte)0xEB), (Status(), Read(4), Read(5)));
    }

    [Fact]
    public void A_cd_is_read_in_pieces_as_long_as_the_host_takes()
    {
        Cdrom(10);
        Packet([0x28, 0, 0, 0, 0, 3, 0, 0, 4, 0, 0, 0], limit: 4096);
        byte[] data = new byte[4 * 2048];
        for (int done = 0; done < data.Length;)
        {
            Assert.Equal((DataRequest, (byte)2), (Status(), Read(2)));
            int length = Read(4) | (Read(5) << 8);
            Assert.InRange(length, 1, 4096);
            ReadData(length).CopyTo(data, done);
            done += length;
        }

        Assert.Equal((Ready, (byte)3), (Status(), Read(2)));
        Assert.Equal(File.ReadAllBytes(_file)[(3 * 2048)..(7 * 2048)], data);
    }

    [Fact]
    public void A_packet_that_is_not_known_leaves_sense()
    {
        Cdrom(10);
        Packet([0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0);
        Assert.Equal((Error, (byte)0x50), (Status(), Read(1)));
        Packet([0x03, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0], 18);
        byte[] sense = ReadData(18);
        Assert.Equal((5, 0x20), (sense[2], sense[12]));
    }

    [Fact]
    public void Nothing_that_a_driver_does_harms()
    {
        Disk(64);
        var random = new Random(1);
        byte[] bytes = new byte[4];
        for (int i = 0; i < 200_000; i++)
        {
            random.NextBytes(bytes);
            int length = 1 << random.Next(3);
            ulong register = (ulong)random.Next(8);
            if (register == 7 && random.Next(4) != 0)
            {
                bytes[0] = random.GetItems<byte>([0x20, 0x24, 0x30, 0x34, 0xC4, 0xC5, 0xC6, 0xEC, 0x29, 0x39, 0xA0, 0x90], 1)[0];
            }

            if (random.Next(3) == 0)
            {
                _channel.Command.Read(register, bytes.AsSpan(0, length));
            }
            else
            {
                _channel.Command.Write(register, bytes.AsSpan(0, length));
            }
        }

        Assert.Equal(64 * 512, new FileInfo(_file).Length);
    }

    [Theory]
    [InlineData(0, "is empty")]
    [InlineData(1000, "1000 bytes")]
    public void An_image_of_no_fitting_length_is_refused(int length, string why)
    {
        File.WriteAllBytes(_file, new byte[length]);
        Assert.Contains(why, Assert.Throws<UserErrorException>(() => RawDisk.Open(_file, true, 512)).Message);
    }

    private static byte[] Sectors(int first, int count)
    {
        byte[] bytes = new byte[count * 512];
        for (int i = 0; i < count; i++)
        {
            for (int j = 0; j < 512; j += 4)
            {
                BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan((i * 512) + j), first + i);
            }
        }

        return bytes;
    }

    private static int Word(byte[] bytes, int word) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(word * 2));

    private void Disk(int sectors, bool readOnly = false)
    {
        File.WriteAllBytes(_file, Sectors(0, sectors));
        _image = RawDisk.Open(_file, readOnly, 512);
        _channel = new AtaChannel("ide0", _irq, new AtaDisk(_image), null);
    }

    private void Cdrom(int blocks)
    {
        File.WriteAllBytes(_file, Sectors(0, blocks * 4));
        _image = RawDisk.Open(_file, readOnly: true, AtapiCdrom.Block);
        _channel = new AtaChannel("ide1", _irq, new AtapiCdrom(_image), null);
    }

    private void Address(int lba, int count)
    {
        Write(2, (byte)count);
        Write(3, (byte)lba);
        Write(4, (byte)(lba >> 8));
        Write(5, (byte)(lba >> 16));
        Write(6, (byte)(0x40 | (lba >> 24)));
    }

    private void Packet(byte[] packet, int limit)
    {
        Write(4, (byte)limit);
        Write(5, (byte)(limit >> 8));
        Command(0xA0);
        Assert.Equal((DataRequest, (byte)1), (Status(), Read(2)));
        WriteData(packet);
    }

    private byte Status() => Read(7);

    private byte Read(ulong register)
    {
        Span<byte> value = [0xFF];
        _channel.Command.Read(register, value);
        return value[0];
    }

    private void Write(ulong register, byte value) => _channel.Command.Write(register, [value]);

    private void Command(byte command) => Write(7, command);

    private byte[] ReadData(int length)
    {
        byte[] data = new byte[length];
        for (int i = 0; i < length; i += 2)
        {
            Assert.Equal(DataRequest, Status());
            _channel.Command.Read(0, data.AsSpan(i, 2));
        }

        return data;
    }

    private void WriteData(byte[] data)
    {
        for (int i = 0; i < data.Length; i += 2)
        {
            _channel.Command.Write(0, data.AsSpan(i, 2));
        }
    }

    private sealed class Line : IInterruptLine
    {
        private bool _level;

        public int Rises { get; set; }

        public void Set(bool asserted)
        {
            Rises += asserted && !_level ? 1 : 0;
            _level = asserted;
        }
    }
}
