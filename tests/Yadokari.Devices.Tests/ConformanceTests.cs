using Yadokari.Core.Buses;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Devices.Display;
using Yadokari.Devices.Firmware;
using Yadokari.Devices.Interrupts;
using Yadokari.Devices.IsaDma;
using Yadokari.Devices.Keyboard;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Power;
using Yadokari.Devices.Rtc;
using Yadokari.Devices.Serial;
using Yadokari.Devices.Storage;
using Yadokari.Devices.Timers;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests;

/// <summary>What every device must stand: any offset, any width, any value, any time, and being reset twice.</summary>
public sealed class ConformanceTests
{
    private const int Accesses = 20_000;

    // Threads of a device's own answer when they get to it: two of the kind may differ.
    private sealed record Subject(object Device, IBusDevice[] Ranges, Action Reset, Action Dispose, bool HasThreads = false);

    private static readonly Dictionary<string, Func<ManualClock, Probe, Subject>> s_devices = new()
    {
        ["serial"] = (_, irq) => Of(new Serial16550(irq, new Paper()), d => d.Reset()),
        ["rtc"] = (clock, irq) => Of(new CmosRtc(clock, irq), d => d.Reset(), d => d.Dispose()),
        ["pit"] = (clock, irq) =>
        {
            var pit = new Pit8254(clock, irq);
            return new(pit, [pit.Counters, pit.SystemControl], pit.Reset, pit.Dispose);
        },
        ["pic"] = (_, irq) =>
        {
            var pic = new DualPic8259(irq);
            return new(pic, [pic.First, pic.Second, pic.EdgeLevelControl], pic.Reset, () => { });
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
            return new(controller, [controller.Data, controller.Command], controller.Reset, () => { });
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
            return new(host, [host.Address, host.Data, host.Ecam], host.Reset, () => { });
        },
        ["msix"] = (_, _) => Of(new MsixTable(3, (_, _) => { }), d => d.Reset()),
        ["post code"] = (_, _) => Of(new PostCode(), _ => { }),
        ["vga"] = (_, _) =>
        {
            GuestMemory memory = GuestRam.Create([(0, 1 << 20)]);
            var vga = new VgaText(memory);
            return new(vga, [vga.Ports, vga.MonochromePorts], vga.Reset, memory.Dispose);
        },
        ["isa dma"] = (_, _) =>
        {
            GuestMemory memory = GuestRam.Create([(0, 1 << 20)]);
            var dma = new IsaDmaController(new Dma(memory, (_, _) => { }));
            return new(dma, [dma.First, dma.Second, dma.Pages], dma.Reset, memory.Dispose);
        },
        ["floppy"] = (_, irq) =>
        {
            GuestMemory memory = GuestRam.Create([(0, 1 << 20)]);
            var dma = new IsaDmaController(new Dma(memory, (_, _) => { }));
            var floppy = new FloppyController(irq, dma.Channel(2), null, new FloppyDrive(new FloppyImage(1440 << 10), FloppyFormat.Of(1440 << 10)!.Value));
            return new(
                floppy,
                [floppy.Registers, floppy.Input, dma.First],
                floppy.Reset,
                () =>
                {
                    floppy.Dispose();
                    memory.Dispose();
                },
                HasThreads: true);
        },
        ["fw_cfg"] = (_, _) => Of(new FwCfg(), d => d.Reset()),
        ["test memory"] = (_, _) => Of(new TestMemory("test-memory", 0x100), _ => { }),
        ["interrupt lines"] = (_, irq) => Of(new InterruptLines([irq, new Probe(), new Probe()]), _ => { }),
        ["ata"] = (_, irq) =>
        {
            var channel = new AtaChannel("ide0", irq, new AtaDisk(new MemoryDisk(512 << 10)), new AtapiCdrom(new MemoryDisk(64 << 10)));
            return new(channel, [channel.Command, channel.Control], channel.Reset, () => { });
        },
        ["virtio"] = (_, irq) =>
        {
            GuestMemory memory = GuestRam.Create([(0, 1 << 20)]);
            var mmio = new Bus("mmio");
            var host = new PciHost(new Bus("pio"), mmio, new PciWindows((0xC000, 0x4000), (0xD000_0000, 0x1000_0000), (1ul << 36, 1ul << 36)), [(irq, 10), (irq, 11), (irq, 5), (irq, 7)]);
            var function = new VirtioPci(new VirtioEntropy(), new Dma(memory, (_, _) => { }), (_, _) => { }, packed: true);
            host.Add(2, function);
            host.Assign();
            host.Ecam.Out32((2 << 15) | 4, 7);
            ulong start = host.Ecam.In32((2 << 15) | 0x10) & ~15ul;
            IBusDevice[] groups = [.. Enumerable.Range(0, 5).Select(group => new Window(mmio, start + ((ulong)group << 12)))];
            return new(function, groups, function.Reset, function.Dispose, HasThreads: true);
        },
    };

    public static TheoryData<string> Devices => [.. s_devices.Keys];

    private static LocalApic NewApic(ManualClock clock, ApicBus? bus = null) =>
        new(0, bus ?? new ApicBus(), clock, () => (ulong)clock.Now, 1_000_000_000, () => { });

    private static Subject Of<T>(T device, Action<T> reset, Action<T>? dispose = null)
        where T : class, IBusDevice => new(device, [device], () => reset(device), () => dispose?.Invoke(device));

    // A device that is added and not named above is found here.
    [Fact]
    public void Every_device_is_among_them()
    {
        static bool ShowsItself(Type type) => typeof(IBusDevice).IsAssignableFrom(type) || typeof(PciFunction).IsAssignableFrom(type)
            || type.GetProperties().Any(p => typeof(IBusDevice).IsAssignableFrom(p.PropertyType));
        Type[] notDevices = [typeof(PciFunction), typeof(PciIde)]; // Reached by "pci".
        Type[] there = [.. typeof(VirtioPci).Assembly.GetExportedTypes().Where(t => t is { IsClass: true, IsAbstract: false } && ShowsItself(t)).Except(notDevices)];
        List<Type> tested = [];
        foreach (Func<ManualClock, Probe, Subject> make in s_devices.Values)
        {
            Subject subject = make(new ManualClock(), new Probe());
            tested.Add(subject.Device.GetType());
            subject.Dispose();
        }

        Assert.True(there.Length > 15);
        Assert.Equal([], there.Except(tested).Select(t => t.Name));
    }

    // Whatever is done to it, it throws nothing, and what it answers follows from what was done and from the clock, and from nothing else.
    [Theory]
    [MemberData(nameof(Devices))]
    public void Survives_any_access(string name)
    {
        (byte[] reads, int rises) = Storm(name, out bool hasThreads);
        (byte[] again, int risesAgain) = Storm(name, out _);
        if (!hasThreads)
        {
            Assert.Equal(reads, again);
            Assert.Equal(rises, risesAgain);
        }

        // Devices that answer are reached.
        string[] silent = ["interrupt lines", "debug exit"];
        Assert.Equal(!silent.Contains(name), reads.AsSpan().ContainsAnyExcept((byte)0xFF));
    }

    private static (byte[] Reads, int Rises) Storm(string name, out bool hasThreads)
    {
        var clock = new ManualClock();
        var irq = new Probe();
        Subject subject = s_devices[name](clock, irq);
        hasThreads = subject.HasThreads;
        var random = new Random(name.Length);
        var reads = new MemoryStream();
        byte[] data = new byte[8];
        for (int i = 0; i < Accesses; i++)
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
                span.Fill(0xFF);
                range.Read(offset, span);
                reads.Write(span);
            }

            if (i % 64 == 0)
            {
                clock.Advance(random.Next(10_000_000));
            }
        }

        subject.Dispose();
        return (reads.ToArray(), irq.Rises);
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
        List<(bool Known, ulong Value, int Vector)> first = ApicStorm();
        Assert.Equal(first, ApicStorm());
        Assert.Contains(first, answer => answer.Known);
        Assert.Contains(first, answer => !answer.Known);
        Assert.Contains(first, answer => answer.Vector > 0);
    }

    private static List<(bool Known, ulong Value, int Vector)> ApicStorm()
    {
        var clock = new ManualClock();
        using LocalApic apic = NewApic(clock);
        var random = new Random(7);
        List<(bool Known, ulong Value, int Vector)> answers = [];
        for (int i = 0; i < 50_000; i++)
        {
            uint index = random.Next(20) == 0 ? 0x1Bu : random.Next(10) == 0 ? 0x6E0u : 0x800u + (uint)random.Next(0x100);
            ulong value = index == 0x1B ? 0xFEE0_0000u | ((ulong)random.Next(16) << 8) : (ulong)random.NextInt64() >> random.Next(64);
            if (random.Next(4) == 0)
            {
                // Enabled by software, with interrupts that it sends to itself: without these it would do little.
                (index, value) = random.Next(3) switch
                {
                    0 => (0x80Fu, 0x1FFul),
                    1 => (0x808u, (ulong)random.Next(4) << 4),
                    _ => (0x83Fu, (ulong)random.Next(16, 256)),
                };
            }

            apic.WriteMsr(index, value);
            bool known = apic.ReadMsr(index, out ulong read);
            int vector = -1;
            if (i % 64 == 0)
            {
                clock.Advance(random.Next(1_000_000));
                vector = apic.Acknowledge();
            }

            answers.Add((known, read, vector));
        }

        return answers;
    }

    private static byte[] Dump(Subject subject) =>
        [.. subject.Ranges.SelectMany(range => Enumerable.Range(0, 0x400).Select(offset => range.In((ulong)offset)))];

    /// <summary>A range of a bus.</summary>
    private sealed class Window(Bus bus, ulong start) : IBusDevice
    {
        private const ulong Length = 0x1000;

        public void Read(ulong offset, Span<byte> data)
        {
            if (offset < Length)
            {
                bus.Read(start + offset, data);
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (offset < Length)
            {
                bus.Write(start + offset, data);
            }
        }
    }

    private sealed class MemoryDisk(int length) : IDisk
    {
        private readonly byte[] _bytes = new byte[length];

        public string Path => "memory";

        public long Length => length;

        public bool ReadOnly => false;

        public bool TryRead(long offset, Span<byte> data)
        {
            _bytes.AsSpan((int)offset, data.Length).CopyTo(data);
            return true;
        }

        public bool TryWrite(long offset, ReadOnlySpan<byte> data)
        {
            data.CopyTo(_bytes.AsSpan((int)offset, data.Length));
            return true;
        }

        public bool TryFlush() => true;

        public bool TryDiscard(long offset, long count) => true;

        public bool TryWriteZeroes(long offset, long count, bool mayDiscard) => true;

        public void Dispose()
        {
        }
    }
}
