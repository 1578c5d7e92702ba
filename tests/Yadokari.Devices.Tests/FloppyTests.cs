using Yadokari.Devices.Storage;

namespace Yadokari.Devices.Tests;

/// <summary>The floppy controller as a driver sees it, by the 82077AA's data sheet.</summary>
public sealed class FloppyTests
{
    private const uint Buffer = 0x8000;

    [Fact]
    public void It_starts_held_in_reset_and_polls_its_drives_once_let_go()
    {
        using var bench = new FloppyBench();
        Assert.Equal((0, 0), (bench.Status, bench.Controller.Registers.In(2)));
        bench.Controller.Registers.Out(5, 0x10); // Nobody listens.
        bench.TurnOn();
        Assert.False(bench.Irq.Level);
        Assert.Equal([0x80], bench.Ask(0x08));
    }

    [Fact]
    public void A_reset_by_the_data_rate_register_ends_the_command_and_polls_too()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Send(0x03, 0xAF);
        Assert.Equal(0x90, bench.Status);
        bench.Controller.Registers.Out(4, 0x82);
        Assert.True(bench.Irq.Level);
        Assert.Equal([0xC0, 0], bench.Ask(0x08));
        Assert.False(bench.Irq.Level);
    }

    [Fact]
    public void Without_its_gate_the_interrupt_stays_inside()
    {
        using var bench = new FloppyBench();
        bench.Controller.Registers.Out(2, 0x04);
        Assert.False(bench.Irq.Level);
        bench.Controller.Registers.Out(2, 0x0C);
        Assert.True(bench.Irq.Level);
        bench.Controller.Registers.Out(2, 0x04);
        Assert.False(bench.Irq.Level);
    }

    [Fact]
    public void It_says_which_one_it_is()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        Assert.Equal([0x90], bench.Ask(0x10));
        Assert.Equal([0x80], bench.Ask(0x18)); // Part ID: the 82078 has that.
        Assert.Equal([0x80], bench.Ask(0x1F));
        Assert.Equal([0x80], bench.Ask(0x88)); // Sense interrupt status takes no options.
    }

    [Fact]
    public void What_was_configured_is_dumped_and_outlives_a_reset_only_if_locked()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        Assert.Equal([3, 0, 0, 0, 0xAF, 0x02, 0, 0, 0x20, 0], Dump(bench, 3));
        bench.Send(0x13, 0, 0x4A, 0x33);
        bench.Send(0x12, 0x86); // Drive 0 is perpendicular, and so is what is written now.
        Assert.Equal([0x10], bench.Ask(0x94));
        Assert.Equal([4, 0, 0, 0, 0xAF, 0x02, 0, 0x86, 0x4A, 0x33], Dump(bench, 4));
        bench.Controller.Registers.Out(2, 0x18);
        bench.TurnOn();
        Assert.Equal([4, 0, 0, 0, 0xAF, 0x02, 0, 0x84, 0x0A, 0x33], Dump(bench, 4));
        Assert.Equal([0], bench.Ask(0x14));
        bench.Controller.Registers.Out(4, 0x80);
        Assert.Equal(0x20, bench.Ask(0x0E)[8]);

        static byte[] Dump(FloppyBench bench, byte cylinder)
        {
            bench.Seek(cylinder);
            return bench.Ask(0x0E);
        }
    }

    [Fact]
    public void Seeks_end_with_an_interrupt_and_the_drive_is_busy_until_that_is_asked_for()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        Assert.Equal(0xFF, bench.Controller.Input.In()); // The disk was changed before anybody looked.
        bench.Send(0x07, 0);
        Assert.True(bench.Irq.Level);
        Assert.Equal(0x81, bench.Status);
        Assert.Equal([0x20, 0], bench.Ask(0x08));
        Assert.Equal((false, 0x80), (bench.Irq.Level, bench.Status));
        Assert.Equal(0xFF, bench.Controller.Input.In()); // The heads stood at track 0 and were not moved.
        Assert.Equal([0x20, 5], bench.Seek(5));
        Assert.Equal(0x7F, bench.Controller.Input.In());
        bench.Send(0xCF, 0, 4); // Relative, inwards.
        Assert.Equal([0x20, 9], bench.Ask(0x08));
        bench.Send(0x8F, 0, 3);
        Assert.Equal([0x20, 6], bench.Ask(0x08));
        bench.Seek(82);
        bench.Send(0x07, 0); // 79 steps are not enough.
        Assert.Equal([0x70, 3], bench.Ask(0x08));
        bench.Send(0x07, 0);
        Assert.Equal([0x20, 0], bench.Ask(0x08));
        bench.Send(0x07, 1);
        Assert.Equal([0x71, 0], bench.Ask(0x08)); // No drive, no track 0.
    }

    [Theory]
    [InlineData(false, 0x38)]
    [InlineData(true, 0x78)]
    public void A_drive_tells_its_status(bool readOnly, byte atTrack0)
    {
        using var bench = new FloppyBench(readOnly: readOnly);
        bench.TurnOn();
        Assert.Equal([atTrack0], bench.Ask(0x04, 0));
        bench.Seek(1);
        Assert.Equal([(byte)((atTrack0 & ~0x10) | 4)], bench.Ask(0x04, 4));
        Assert.Equal([0x29], bench.Ask(0x04, 1));
    }

    [Fact]
    public void Sectors_come_by_dma_until_terminal_count()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Seek(3);
        int rises = bench.Irq.Rises;
        bench.Program(Buffer, 3 * 512, toMemory: true);
        Assert.Equal([0x04, 0, 0, 3, 1, 7, 2], bench.Ask(0x46, 4, 3, 1, 4, 2, 18, 0x1B, 0xFF));
        FloppyBench.Await(() => bench.Irq.Rises == rises + 1 && !bench.Irq.Level);
        Assert.Equal(bench.Image.Sectors((((3 * 2) + 1) * 18) + 3, 3), bench.Bytes(Buffer, 3 * 512));
        Assert.Equal(0, bench.Bytes(Buffer + (3 * 512), 1)[0]);
        Assert.Equal(4, bench.Dma.First.In(8));
    }

    [Fact]
    public void Multi_track_goes_on_on_the_other_side()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Program(0x2_0000, 36 * 512, toMemory: true);
        Assert.Equal([0x04, 0, 0, 1, 0, 1, 2], bench.Ask(0xE6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF));
        Assert.Equal(bench.Image.Sectors(0, 36), bench.Bytes(0x2_0000, 36 * 512));

        // Terminal count at the end of side 0, as SeaBIOS reads.
        bench.Program(Buffer, 512, toMemory: true);
        Assert.Equal([0, 0, 0, 0, 1, 1, 2], bench.Ask(0xE6, 0, 0, 0, 4, 2, 4, 0x1B, 0xFF));
    }

    [Fact]
    public void Without_terminal_count_the_end_of_the_cylinder_is_an_error()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Program(Buffer, 0x1_0000, toMemory: true);
        Assert.Equal([0x40, 0x80, 0, 1, 0, 1, 2], bench.Ask(0x46, 0, 0, 0, 17, 2, 18, 0x1B, 0xFF));
        Assert.Equal(bench.Image.Sectors(16, 2), bench.Bytes(Buffer, 1024));
    }

    [Theory]
    [InlineData(new byte[] { 0x46, 0, 1, 0, 1, 2, 18 }, 0x04, 0x10)] // Another cylinder than the heads are at.
    [InlineData(new byte[] { 0x46, 0, 0, 0, 19, 2, 20 }, 0x04, 0)]
    [InlineData(new byte[] { 0x46, 0, 0, 0, 0, 2, 18 }, 0x04, 0)]
    [InlineData(new byte[] { 0x46, 0, 0, 1, 1, 2, 18 }, 0x04, 0)] // Another head than is selected.
    [InlineData(new byte[] { 0x46, 0, 0, 0, 1, 3, 18 }, 0x04, 0)] // Sectors of 1024 bytes.
    [InlineData(new byte[] { 0x06, 0, 0, 0, 1, 2, 18 }, 0x01, 0)] // Single density.
    [InlineData(new byte[] { 0x46, 1, 0, 0, 1, 2, 18 }, 0x01, 0)] // No drive.
    public void A_sector_that_is_not_there_is_not_found(byte[] command, byte status1, byte status2)
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Program(Buffer, 512, toMemory: true);
        byte[] result = bench.Ask([.. command, 0x1B, 0xFF]);
        Assert.Equal([(byte)(0x40 | (command[1] & 7)), status1, status2, command[2], command[3], command[4], command[5]], result);
        Assert.Equal(0, bench.Bytes(Buffer, 1)[0]);
    }

    [Theory]
    [InlineData(1440, 0, 1, 2, 3)]
    [InlineData(720, 2, 0, 3, 3)]
    [InlineData(360, 1, 0, 3, 0)]
    [InlineData(2880, 3, 0, 1, 2)]
    public void A_floppy_is_read_at_its_rate_only(int kibibytes, byte right, byte wrong, byte wrongToo, byte wrongAsWell)
    {
        using var bench = new FloppyBench(kibibytes);
        bench.TurnOn();
        foreach (byte rate in (ReadOnlySpan<byte>)[wrong, wrongToo, wrongAsWell])
        {
            bench.Controller.Input.Out(0, rate);
            Assert.Equal([0x40, 1], bench.Ask(0x4A, 0)[..2]);
        }

        bench.Controller.Input.Out(0, right);
        Assert.Equal([0, 0, 0, 0, 0, 1, 2], bench.Ask(0x4A, 0));
        Assert.Equal([0, 0, 0, 0, 0, 2, 2], bench.Ask(0x4A, 0)); // The disk turns.
        bench.Seek(200);
        Assert.Equal([0x40, 1], bench.Ask(0x4A, 0)[..2]); // Nothing beyond the last cylinder.
    }

    [Fact]
    public void An_implied_seek_moves_the_heads()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Send(0x13, 0, 0x60, 0);
        bench.Program(Buffer, 512, toMemory: true);
        Assert.Equal([0x20, 0, 0, 7, 0, 2, 2], bench.Ask(0x46, 0, 7, 0, 1, 2, 18, 0x1B, 0xFF));
        Assert.Equal(bench.Image.Sectors(7 * 36, 1), bench.Bytes(Buffer, 512));
    }

    [Fact]
    public void What_is_written_is_in_the_image_and_a_sector_cut_short_ends_with_zeroes()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        byte[] data = [.. Enumerable.Range(0, 700).Select(i => (byte)(i * 3))];
        bench.Memory.Write(Buffer, data);
        bench.Program(Buffer, 700, toMemory: false);
        byte[] third = bench.Image.Sectors(6, 1);
        Assert.Equal([0, 0, 0, 0, 0, 7, 2], bench.Ask(0x45, 0, 0, 0, 5, 2, 18, 0x1B, 0xFF));
        Assert.Equal([.. data, .. new byte[324]], bench.Image.Sectors(4, 2));
        Assert.Equal(third, bench.Image.Sectors(6, 1));
    }

    [Fact]
    public void A_protected_floppy_is_not_written()
    {
        using var bench = new FloppyBench(readOnly: true);
        bench.TurnOn();
        byte[] before = [.. bench.Image.Bytes];
        bench.Program(Buffer, 512, toMemory: false);
        Assert.Equal([0x40, 0x02, 0], bench.Ask(0x45, 0, 0, 0, 5, 2, 18, 0x1B, 0xFF)[..3]);
        Assert.Equal([0x40, 0x02, 0], bench.Ask(0x4D, 0, 2, 18, 0x6C, 0xF6)[..3]);
        Assert.Equal(before, bench.Image.Bytes);
    }

    [Fact]
    public void Errors_of_the_hosts_are_told()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Image.Fails = true;
        bench.Program(Buffer, 512, toMemory: true);
        Assert.Equal([0x40, 0x20, 0x20], bench.Ask(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
        bench.Program(Buffer, 512, toMemory: false);
        Assert.Equal([0x50, 0, 0], bench.Ask(0x45, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
    }

    [Fact]
    public void An_image_that_ends_early_reads_as_zeroes_from_there_and_is_not_grown()
    {
        using var bench = new FloppyBench(new FloppyImage(1000 << 10));
        bench.TurnOn(rate: 0);
        bench.Seek(79);
        bench.Memory.Write(Buffer, [1, 2, 3]);
        bench.Program(Buffer, 512, toMemory: true);
        Assert.Equal(0, bench.Ask(0x46, 0, 79, 0, 1, 2, 15, 0x1B, 0xFF)[0]);
        Assert.Equal(new byte[512], bench.Bytes(Buffer, 512));
        bench.Program(Buffer, 512, toMemory: false);
        Assert.Equal(0x50, bench.Ask(0x45, 0, 79, 0, 1, 2, 15, 0x1B, 0xFF)[0]);
    }

    [Theory]
    [InlineData(0x20, 1)] // Without the FIFO an interrupt for each byte.
    [InlineData(0x08, 7)] // With it one for each burst.
    public void Without_dma_the_host_moves_the_bytes(byte configuration, int burst)
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Send(0x03, 0xAF, 0x03);
        bench.Send(0x13, 0, configuration, 0);
        int rises = bench.Irq.Rises;
        bench.Send(0x46, 0, 0, 0, 17, 2, 18, 0x1B, 0xFF);
        byte[] data = new byte[1024];
        for (int i = 0; i < data.Length; i++)
        {
            FloppyBench.Await(() => bench.Status == 0xF0);
            data[i] = bench.Controller.Registers.In(5);
        }

        Assert.Equal(bench.Image.Sectors(16, 2), data);
        Assert.Equal([0x40, 0x80, 0, 1, 0, 1, 2], bench.Result());
        FloppyBench.Await(() => !bench.Irq.Level);

        // Those by the controller's thread may come together with the next.
        int bursts = 2 * ((512 + burst - 1) / burst);
        Assert.InRange(bench.Irq.Rises - rises, bursts - 2, bursts + 1);

        bench.Send(0x45, 0, 0, 0, 2, 2, 2, 0x1B, 0xFF);
        for (int i = 0; i < 512; i++)
        {
            FloppyBench.Await(() => bench.Status == 0xB0);
            bench.Controller.Registers.Out(5, (byte)i);
        }

        Assert.Equal([0x40, 0x80], bench.Result()[..2]);
        Assert.Equal([.. Enumerable.Range(0, 512).Select(i => (byte)i)], bench.Image.Sectors(1, 1));
    }

    [Fact]
    public void A_track_is_formatted_by_the_ids_it_is_given()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Seek(2);
        byte[] other = bench.Image.Sectors(2 * 36, 18);
        bench.Memory.Write(Buffer, [.. Enumerable.Range(1, 18).SelectMany(r => new byte[] { 2, 1, (byte)r, 2 })]);
        bench.Program(Buffer, 72, toMemory: false);
        Assert.Equal([0x04, 0, 0], bench.Ask(0x4D, 4, 2, 18, 0x6C, 0xF6)[..3]);
        Assert.All(bench.Image.Sectors((2 * 36) + 18, 18), b => Assert.Equal(0xF6, b));
        Assert.Equal(other, bench.Image.Sectors(2 * 36, 18));

        // What an image can't hold.
        Assert.Equal([0x40, 0x02], bench.Ask(0x4D, 0, 2, 21, 0x6C, 0xF6)[..2]);
        Assert.Equal([0x40, 0x02], bench.Ask(0x4D, 0, 3, 9, 0x6C, 0xF6)[..2]);
        bench.Memory.Write(Buffer, [2, 0, 19, 2]);
        bench.Program(Buffer, 4, toMemory: false);
        Assert.Equal([0x40, 0x02], bench.Ask(0x4D, 0, 2, 1, 0x6C, 0xF6)[..2]);
    }

    [Fact]
    public void Sectors_are_verified_without_moving_any()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        Assert.Equal([0, 0, 0, 1, 0, 1, 2], bench.Ask(0x56, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF));
        Assert.Equal([0, 0, 0, 0, 0, 6, 2], bench.Ask(0x56, 0x80, 0, 0, 1, 2, 18, 0x1B, 5));
        Assert.Equal([0x40, 0x80], bench.Ask(0x56, 0x80, 0, 0, 17, 2, 18, 0x1B, 5)[..2]);
        Assert.Equal([0x40, 0x04], bench.Ask(0x56, 0, 0, 0, 1, 2, 19, 0x1B, 0xFF)[..2]);
        Assert.Equal([0x04, 0, 0, 1, 0, 1, 2], bench.Ask(0xD6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF));
    }

    [Fact]
    public void A_whole_track_is_read_from_its_first_sector_and_no_sector_is_a_deleted_one()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Program(Buffer, 18 * 512, toMemory: true);
        Assert.Equal([0, 0, 0], bench.Ask(0x42, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
        Assert.Equal(bench.Image.Sectors(0, 18), bench.Bytes(Buffer, 18 * 512));
        bench.Program(Buffer, 1024, toMemory: true);
        Assert.Equal([0x40, 0x04, 0], bench.Ask(0x42, 0, 0, 0, 7, 2, 2, 0x1B, 0xFF)[..3]);
        Assert.Equal(bench.Image.Sectors(0, 2), bench.Bytes(Buffer, 1024));
        bench.Program(Buffer, 1024, toMemory: true);
        Assert.Equal([0, 0, 0x40, 0, 0, 9, 2], bench.Ask(0x4C, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF));
        Assert.Equal(bench.Image.Sectors(8, 1), bench.Bytes(Buffer, 512));
        Assert.Equal([0x40, 0x80, 0x40], bench.Ask(0x6C, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF)[..3]);
    }

    [Fact]
    public void A_transfer_waits_for_its_channel()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Program(Buffer, 512, toMemory: true, unmask: false);
        bench.Send(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF);
        FloppyBench.Await(() => bench.Dma.First.In(8) == 0x40);
        Assert.Equal(0x10, bench.Status);
        bench.Dma.First.Out(0xA, 2);
        Assert.Equal(0, bench.Result()[0]);
        Assert.Equal(bench.Image.Sectors(0, 1), bench.Bytes(Buffer, 512));
    }

    [Fact]
    public void A_reset_ends_a_transfer_for_good()
    {
        using var bench = new FloppyBench();
        bench.TurnOn();
        bench.Program(Buffer, 512, toMemory: true, unmask: false);
        bench.Send(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF);
        FloppyBench.Await(() => bench.Dma.First.In(8) == 0x40);
        bench.Controller.Registers.Out(2, 0x18);
        bench.Dma.First.Out(0xA, 2);
        bench.TurnOn();
        Assert.Equal(0, bench.Dma.First.In(8));
        Assert.Equal(new byte[512], bench.Bytes(Buffer, 512));
        Assert.Equal(0, bench.Ask(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[0]);
        Assert.Equal(bench.Image.Sectors(0, 1), bench.Bytes(Buffer, 512));
    }

    [Fact]
    public void A_reset_while_a_transfer_is_under_way_is_not_over_before_that_has_ended()
    {
        using var bench = new FloppyBench();
        for (int i = 0; i < 200; i++)
        {
            bench.Controller.Registers.Out(2, 0x18);
            bench.TurnOn();
            bench.Program(0x2_0000, 36 * 512, toMemory: true);
            bench.Send(0xC6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF);
            Thread.SpinWait(i * 20);
            bench.Controller.Registers.Out(2, 0x18);
            bench.TurnOn();
            bench.Memory.Write(0x2_0000, new byte[36 * 512]);
            bench.Send(0x03, 0xAF, 0x02);
            Assert.Equal(new byte[36 * 512], bench.Bytes(0x2_0000, 36 * 512));
        }
    }

    [Fact]
    public void Nothing_that_a_driver_does_harms()
    {
        using var bench = new FloppyBench();
        var random = new Random(1);
        byte[] commands = [0x02, 0x03, 0x04, 0x45, 0xC5, 0x46, 0xE6, 0x07, 0x08, 0x49, 0x4A, 0x4C, 0x4D, 0x0E, 0x0F, 0x10, 0x12, 0x13, 0x14, 0x56, 0xD6];
        for (int round = 0; round < 3_000; round++)
        {
            if (random.Next(8) == 0)
            {
                bench.Controller.Registers.Out(2, random.Next(3) == 0 ? (byte)random.Next(256) : (byte)0x1C);
                bench.Controller.Input.Out(0, (byte)random.Next(4));
            }

            bench.Program((uint)random.Next(1 << 24), random.Next(1, 0x1_0000), toMemory: random.Next(2) == 0, unmask: random.Next(4) != 0);
            bench.Controller.Registers.Out(5, random.GetItems(commands, 1)[0]);
            for (int i = 0; i < 12; i++)
            {
                bench.Controller.Registers.Out(5, (byte)random.Next(random.Next(3) == 0 ? 256 : 20));
                _ = bench.Controller.Registers.In(5);
            }
        }

        // It still works.
        bench.Controller.Registers.Out(2, 0);
        bench.TurnOn();
        bench.Send(0x14);
        bench.Result();
        bench.Seek(0);
        bench.Send(0x13, 0, 0x20, 0);
        bench.Program(Buffer, 512, toMemory: true);
        Assert.Equal(0, bench.Ask(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[0]);
        Assert.Equal(bench.Image.Sectors(0, 1), bench.Bytes(Buffer, 512));
    }

    [Theory]
    [InlineData(160, 40, 1, 8, 1)]
    [InlineData(180, 40, 1, 9, 1)]
    [InlineData(320, 40, 2, 8, 1)]
    [InlineData(360, 40, 2, 9, 1)]
    [InlineData(720, 80, 2, 9, 3)]
    [InlineData(1200, 80, 2, 15, 2)]
    [InlineData(1440, 80, 2, 18, 4)]
    [InlineData(1680, 80, 2, 21, 4)]
    [InlineData(2880, 80, 2, 36, 5)]
    [InlineData(1000, 80, 2, 15, 2)] // Of no known length: the next that is larger.
    public void The_format_follows_from_the_length(int kibibytes, int cylinders, int heads, int sectors, byte drive)
    {
        FloppyFormat format = FloppyFormat.Of(kibibytes << 10)!.Value;
        Assert.Equal((cylinders, heads, sectors, drive), (format.Cylinders, format.Heads, format.Sectors, format.Drive));
        Assert.Null(FloppyFormat.Of((2880 << 10) + 512));
    }
}
