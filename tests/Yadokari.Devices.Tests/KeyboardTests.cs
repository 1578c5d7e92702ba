using Yadokari.Devices.Keyboard;
using Yadokari.Devices.Power;

namespace Yadokari.Devices.Tests;

/// <summary>A PS/2 keyboard behind its controller, as Linux's i8042 and atkbd and as SeaBIOS's ps2port go about them.</summary>
public sealed class KeyboardTests
{
    private readonly Probe _irq = new();
    private readonly I8042 _controller;

    public KeyboardTests() => _controller = new I8042(_irq, () => Assert.Fail("reset"), new A20Gate(_ => { }), new Ps2Keyboard());

    [Fact]
    public void A_kernel_finds_a_keyboard_of_102_keys()
    {
        Configure(0x34); // No interrupt, no translation.
        Assert.Equal([0xFA, 0xAA], Send(0xFF));
        Assert.Equal([0xFA, 0xAB, 0x83], Send(0xF2));
        Assert.Equal([0xEE], Send(0xEE));
        Assert.Equal([0xFA], Send(0xED));
        Assert.Equal([0xFA], Send(0x07));
        Assert.Equal([0xFA], Send(0xF0));
        Assert.Equal([0xFA, 0x02], Send(0x00));
        Assert.Equal([0xFE], Send(0x12));
    }

    [Fact]
    public void The_controller_translates_keys_and_not_answers()
    {
        Configure(0x45);
        Assert.Equal([0xFA, 0xAB, 0x41], Send(0xF2));
        Assert.True(_controller.Press([0x1C, 0xF0, 0x1C, 0xE0, 0x75, 0xE0, 0xF0, 0x75, 0x83, 0xF0, 0x83]));
        Assert.Equal([0x1E, 0x9E, 0xE0, 0x48, 0xE0, 0xC8, 0x41, 0xC1], Take());
    }

    [Fact]
    public void Each_byte_interrupts_once_it_is_its_turn()
    {
        Configure(0x45);
        int drained = 0;
        _controller.Drained += () => drained++;
        Assert.False(_irq.Level);
        Assert.True(_controller.Press([0x1C, 0xF0, 0x1C]));
        Assert.True(_irq.Level);
        Assert.Equal(0x1E, _controller.Data.In());
        Assert.True(_irq.Level);
        Assert.Equal(0, drained);
        Assert.Equal(0x9E, _controller.Data.In());
        Assert.False(_irq.Level);
        Assert.Equal(1, drained);
        Assert.Equal(0, _controller.Command.In() & 1);
    }

    [Fact]
    public void Keys_wait_while_the_interface_is_off_and_are_refused_when_too_many_do()
    {
        Configure(0x45);
        _controller.Command.Out(0, 0xAD);
        Assert.True(_controller.Press([0x1C]));
        Assert.Equal(0, _controller.Command.In() & 1);
        for (int i = 0; i < 63; i++)
        {
            Assert.True(_controller.Press([0x32]));
        }

        Assert.False(_controller.Press([0x32]));
        _controller.Command.Out(0, 0xAE);
        Assert.Equal(64, Take().Count);
        Assert.True(_controller.Press([0x32]));
    }

    [Fact]
    public void A_keyboard_that_is_told_not_to_look_takes_no_keys()
    {
        Configure(0x45);
        Assert.Equal([0xFA], Send(0xF5));
        Assert.False(_controller.Press([0x1C]));
        Assert.Equal([0xFA], Send(0xF4));
        Assert.True(_controller.Press([0x1C]));
    }

    [Fact]
    public void Every_key_of_set_1_has_a_code_of_set_2_that_comes_back_as_it()
    {
        for (byte code = 1; code <= 0x58; code++)
        {
            // 54h is SysRq, whose codes are others; 55h no keyboard has.
            Assert.True(code is 0x54 or 0x55 || ScanCodes.Translate(ScanCodes.FromSet1(code)) == code, $"{code:x}");
        }
    }

    private void Configure(byte configuration)
    {
        _controller.Command.Out(0, 0x60);
        _controller.Data.Out(0, configuration);
    }

    private List<byte> Send(byte value)
    {
        _controller.Data.Out(0, value);
        return Take();
    }

    private List<byte> Take()
    {
        List<byte> bytes = [];
        while ((_controller.Command.In() & 1) != 0)
        {
            bytes.Add(_controller.Data.In());
        }

        return bytes;
    }
}
