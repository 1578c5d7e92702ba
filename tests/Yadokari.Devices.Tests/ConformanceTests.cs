using Yadokari.Core.Buses;
using Yadokari.Core.Memory;
using Yadokari.Devices.Display;
using Yadokari.Devices.Interrupts;
using Yadokari.Devices.IsaDma;
using Yadokari.Devices.Keyboard;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Power;
using Yadokari.Devices.Rtc;
using Yadokari.Devices.Serial;
using Yadokari.Devices.Storage;
using Yadokari.Devices.Timers;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests;

/// <summary>What every device must stand: any offset, any width, any value, any time, and being reset twice.</summary>
public sealed class ConformanceTests
{
    private sealed record Subject(IBusDevice[] Ranges, Action Reset, Action Dispose);

    private static readonly Dictionary<string, Func<ManualClock, Probe, Subject>> s_devices = new()
    {
        ["serial"] = (_, irq) => Of(new Serial16550(irq, new Paper()), d => d.Reset()),
        ["rtc"] = (clock, irq) => Of(new CmosRtc(clock, irq), d => d.Reset(), d => d.Dispose()),
        ["pit"] = (clock, irq) =>
        {
            var pit = new Pit8254(clock, irq);
            return new([pit.Counters, pit.SystemControl], pit.Reset, pit.Dispose);
        },
        ["pic"] = (_, irq) =>
        {
            var pic = new DualPic8259(irq);
            return new([pic.First, pic.Second, pic.EdgeLevelControl], pic.Reset, () => { });
        },
        ["local apic"] = (clock, _) => Of(NewApic(clock), d => d.Reset(), d => d.Dispose()),
        ["io apic"] = (clock, _) =>
        {
            var bus = new ApicBus();
            LocalApic target = NewApic(clock, bus);
            return Of(new IoApic(bus, 0), d => d.Reset(), _ => target.Dispose());
        },
        ["i8042"] = (_, irq) =>
        {
            var controller = new I8042(irq, () => { }, new A20Gate(_ => { }));
            return new([controller.Data, controller.Command], controller.Reset, () => { });
        },
        ["port 92"] = (_, _) => Of(new SystemControlA(() => { }, new A20Gate(_ => { })), d => d.Reset()),
        ["port cf9"] = (_, _) => Of(new ResetControl(() => { }), d => d.Reset()),
        ["acpi"] = (clock, irq) => Of(new AcpiPowerManagement(clock, irq, () => { }), d => d.Reset(), d => d.Dispose()),
        ["debug exit"] = (_, _) => Of(new DebugExit(_ => { }), _ => { }),
        ["debug console"] = (_, _) => Of(new DebugConsole(new Paper()), _ => { }),
        ["pci"] = (_, irq) =>
        {
            var host = new PciHost(new Bus("pio"), new Bus("mmio"), new PciWindows((0xC000, 0x4000), (0xD000_0000, 0x1000_0000), (1ul << 36, 1ul << 36)), [(irq, 10), (irq, 11), (irq, 5), (irq, 7)]);
            host.Add(1, new PciIde());
            return new([host.Address, host.Data, host.Ecam], host.Reset, () => { });
        },
        ["msix"] = (_, _) => Of(new MsixTable(3, (_, _) => { }), d => d.Reset()),
        ["post code"] = (_, _) => Of(new PostCode(), _ => { }),
        ["vga"] = (_, _) =>
        {
            GuestMemory memory = GuestRam.Create([(0, 1 << 20)]);
            var vga = new VgaText(memory);
            return new([vga.Ports, vga.MonochromePorts], vga.Reset, memory.Dispose);
        },
        ["isa dma"] = (_, _) =>
        {
            GuestMemory memory = GuestRam.Create([(0, 1 << 20)]);
            var dma = new IsaDmaController(new Dma(memory, (_, _) => { }));
            return new([dma.First, dma.Second, dma.Pages], dma.Reset, memory.Dispose);
        },
        ["floppy"] = (_, irq) =>
        {
            GuestMemory memory = GuestRam.Create([(0, 1 << 20)]);
            var dma = new IsaDmaController(new Dma(memory, (_, _) => { }));
            var floppy = new FloppyController(irq, dma.Channel(2), new FloppyDrive(new FloppyImage(1440 << 10), FloppyFormat.Of(1440 << 10)!.Value));
            return new([floppy.Registers, floppy.Input, dma.First], floppy.Reset, () =>
            {
                floppy.Dispose();
                memory.Dispose();
            });
        },
    };

    public static TheoryData<string> Devices => [.. s_devices.Keys];

    private static LocalApic NewApic(ManualClock clock, ApicBus? bus = null) =>
        new(0, bus ?? new ApicBus(), clock, () => (ulong)clock.Now, 1_000_000_000, () => { });

    private static Subject Of<T>(T device, Action<T> reset, Action<T>? dispose = null)
        where T : IBusDevice => new([device], () => reset(device), () => dispose?.Invoke(device));

    [Theory]
    [MemberData(nameof(Devices))]
    public void Survives_any_access(string name)
    {
        var clock = new ManualClock();
        Subject subject = s_devices[name](clock, new Probe());
        var random = new Random(name.Length);
        byte[] data = new byte[8];
        for (int i = 0; i < 20_000; i++)
        {
            IBusDevice range = subject.Ranges[random.Next(subject.Ranges.Length)];
            ulong offset = random.Next(16) switch
            {
                0 => ulong.MaxValue - (ulong)random.Next(8),
                1 => (ulong)random.Next(0x2000),
                < 8 => (ulong)random.Next(0x40) << 4,
                _ => (ulong)random.Next(0x28),
            };
            Span<byte> span = data.AsSpan(0, random.Next(1, 9));
            random.NextBytes(span);
            if (random.Next(2) == 0)
            {
                range.Write(offset, span);
            }
            else
            {
                range.Read(offset, span);
            }

            if (i % 64 == 0)
            {
                clock.Advance(random.Next(10_000_000));
            }
        }

        subject.Dispose();
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Beyond_the_registers_reads_stay_as_given(string name)
    {
        Subject subject = s_devices[name](new ManualClock(), new Probe());
        foreach (IBusDevice range in subject.Ranges)
        {
            Assert.Equal(0xFF, range.In(0x10_0000));
        }

        subject.Dispose();
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Reset_twice_equals_reset_once(string name)
    {
        Subject subject = s_devices[name](new ManualClock(), new Probe());
        var random = new Random(1);
        for (int i = 0; i < 1_000; i++)
        {
            subject.Ranges[random.Next(subject.Ranges.Length)].Out32((ulong)random.Next(0x40) << random.Next(5), (uint)random.Next());
        }

        subject.Reset();
        byte[] once = Dump(subject);
        subject.Reset();
        Assert.Equal(once, Dump(subject));
        subject.Dispose();
    }

    [Fact]
    public void The_apic_survives_any_msr()
    {
        var clock = new ManualClock();
        using LocalApic apic = NewApic(clock);
        var random = new Random(7);
        for (int i = 0; i < 50_000; i++)
        {
            uint index = random.Next(20) == 0 ? 0x1Bu : random.Next(10) == 0 ? 0x6E0u : 0x800u + (uint)random.Next(0x100);
            ulong value = index == 0x1B ? 0xFEE0_0000u | ((ulong)random.Next(16) << 8) : (ulong)random.NextInt64() >> random.Next(64);
            apic.WriteMsr(index, value);
            apic.ReadMsr(index, out _);
            if (i % 64 == 0)
            {
                clock.Advance(random.Next(1_000_000));
                apic.Acknowledge();
            }
        }
    }

    private static byte[] Dump(Subject subject) =>
        [.. subject.Ranges.SelectMany(range => Enumerable.Range(0, 0x400).Select(offset => range.In((ulong)offset)))];
}
