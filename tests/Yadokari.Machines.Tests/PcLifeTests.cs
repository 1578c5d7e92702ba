using System.Net;
using System.Net.Sockets;
using System.Reflection;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Core.Time;
using Yadokari.Devices.Serial;
using Yadokari.Devices.Virtio;
using Yadokari.Disks;
using Yadokari.Linux;
using Yadokari.Networks;
using Yadokari.X86.Engines;

namespace Yadokari.Machines.Tests;

/// <summary>The end of a machine, and that of one that could not be made.</summary>
public sealed class PcLifeTests : IDisposable
{
    private const ulong OwnMemory = 37 << 20; // A size that no other test has: memory of these machines is known by it.

    private readonly string _folder = Directory.CreateTempSubdirectory("yado-life-").FullName;
    private readonly ManualClock _clock = new();

    public PcLifeTests()
    {
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, null, (0x1000, SyntheticKernel.Preferred, [0xF4], 1));
        File.WriteAllBytes(In("kernel"), SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length));
        foreach (string name in (string[])["first", "second", "module"])
        {
            File.WriteAllBytes(In(name), new byte[1 << 20]);
        }
    }

    private PcConfig Config => new() { Memory = OwnMemory, Kernel = In("kernel"), Console = new Silence(), Clock = _clock };

    public static TheoryData<string> LateParts => ["second disk", "second module", "publish", "share", "vsock", "second port", "debug port", "engine", "vCPU", "kernel"];

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // Whatever of a machine can't be made, what was made before goes again.
    [Theory]
    [MemberData(nameof(LateParts))]
    public void A_machine_that_can_not_be_made_leaves_nothing_behind(string part)
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        int port = ((IPEndPoint)taken.LocalEndpoint).Port;
        using IDisk inUse = DiskImage.Open(In("second"), readOnly: false, DiskFormat.Raw);
        File.WriteAllBytes(In("large"), new byte[48 << 20]);
        PcConfig config = Config with
        {
            Modules = [In("module"), .. part == "second module" ? [In("missing")] : (string[])[]],
            Devices =
            [
                new DiskSpec(In("first"), Format: DiskFormat.Raw),
                new NetworkSpec(),
                new ShareSpec(_folder, "all"),
                new VsockSpec(part == "vsock" ? Path.Combine(_folder, "missing", "vsock") : In("vsock")),
                new PortSpec("one", In("port")),
                .. part switch
                {
                    "second disk" => [new DiskSpec(In("second"), Format: DiskFormat.Raw)],
                    "publish" => [new NetworkSpec { Forwards = [new PortForward(IPAddress.Loopback, port, 80)] }],
                    "share" => [new ShareSpec(In("missing"), "none")],
                    "second port" => [new PortSpec("two", Path.Combine(_folder, "missing", "port"))],
                    "debug port" => [new TestDeviceSpec(TestDevice.DebugExit, PcLayout.Com1)],
                    _ => (DeviceSpec[])[],
                },
            ],
            Initrd = part == "kernel" ? In("large") : null, // Found out when the kernel is loaded, which is last.
        };
        var engine = new FakeEngine(vcpu => vcpu.Spin()) { FailsVm = part == "engine", FailsVcpu = part == "vCPU" };
        string[] before = OwnThreads();

        Exception error = Assert.ThrowsAny<Exception>(() => new Machine(config, engine));

        Assert.True(error is UserErrorException || part is "engine" or "vCPU", error.ToString());
        AssertThreadsAre(before);
        Assert.Empty(OwnFiles().Except([In("second")]));
        Assert.Equal(part is "debug port" or "vCPU" or "kernel" ? 1 : 0, engine.VmsDisposed);
        Assert.Equal(0, _clock.Handlers);
        Assert.Equal(0, _clock.Alarms);
        Assert.Equal([], Directory.GetFiles(_folder).Select(Path.GetFileName).Intersect(["vsock", "port"]));
        using (IDisk again = DiskImage.Open(In("first"), readOnly: false, DiskFormat.Raw))
        {
            Assert.False(again.ReadOnly);
        }
    }

    [Fact]
    public void Firmware_that_is_none_leaves_nothing_behind()
    {
        PcConfig config = Config with { Kernel = null, Firmware = In("module"), Devices = [new DiskSpec(In("first"), Format: DiskFormat.Raw, Bus: DiskBus.Ide), new CdromSpec(In("missing"))] };
        Assert.ThrowsAny<UserErrorException>(() => new Machine(config, new FakeEngine(vcpu => vcpu.Spin())));
        Assert.Empty(OwnFiles());
    }

    [Fact]
    public void A_machine_that_is_disposed_of_leaves_nothing_behind()
    {
        string[] before = OwnThreads();
        var engine = new FakeEngine(_ => VmExit.Shutdown);
        PcConfig config = Config with
        {
            Devices = [new DiskSpec(In("first"), Format: DiskFormat.Raw), new NetworkSpec(), new ShareSpec(_folder, "all"), new VsockSpec(In("vsock")), new PortSpec("one", In("port"))],
        };
        using (var pc = new Machine(config, engine))
        {
            Assert.NotEmpty(OwnFiles());
            pc.Run();
        }

        AssertThreadsAre(before);
        Assert.Empty(OwnFiles());
        Assert.Equal((0, 0, 1), (_clock.Handlers, _clock.Alarms, engine.VmsDisposed));
    }

    // All of them, so that a new one can't be forgotten.
    [Fact]
    public void Members_throw_once_it_is_disposed_of()
    {
        var pc = new Machine(Config, new FakeEngine(_ => VmExit.Shutdown));
        pc.Run();
        pc.Dispose();
        pc.Dispose();
        foreach (MethodInfo method in typeof(Machine).GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly))
        {
            if (method.Name is nameof(Machine.Dispose) or nameof(Machine.Fail) or nameof(Machine.Type) || method.Name.EndsWith("_" + nameof(Machine.Restarted), StringComparison.Ordinal))
            {
                continue; // Type can't be called so: its parameter is a span. An event may be left at any time.
            }

            object?[] arguments = [.. method.GetParameters().Select(p => p.ParameterType.IsValueType ? Activator.CreateInstance(p.ParameterType) : null)];
            MethodInfo called = method.IsGenericMethodDefinition ? method.MakeGenericMethod(typeof(VirtioBalloon), typeof(long)) : method;
            Exception? thrown = Record.Exception(() => called.Invoke(pc, arguments));
            Assert.True(thrown?.InnerException is ObjectDisposedException, $"{method.Name}: {thrown?.InnerException?.GetType().Name ?? "nothing"}");
        }

        Assert.Throws<ObjectDisposedException>(() => pc.Type("x"u8));
        pc.Fail(new InvalidOperationException());
    }

    // What a caller has kept of it finds no memory and no vCPU any more.
    [Fact]
    public void What_was_kept_of_it_reaches_nothing_once_it_is_disposed_of()
    {
        var engine = new FakeEngine(_ => VmExit.Shutdown);
        var pc = new Machine(Config, engine);
        (GuestMemory memory, IX86VcpuHost host, VirtioBalloon balloon, KeyboardInput keyboard) = (pc.Memory, pc.Host, pc.Use((VirtioBalloon b) => b), pc.Keyboard);
        pc.Run();
        pc.Dispose();
        Assert.False(memory.Write(0, [1]));
        Assert.False(memory.TrySlice(0, 1, out _));
        Assert.False(memory.TryReadUInt64(0, out _));
        Assert.Equal((0ul, 0ul), (memory.Size, memory.End));
        balloon.Target = 4096;
        keyboard.Press([0x1C]);
        host.MmioWrite(0, PcLayout.LocalApic + 0x300, BitConverter.GetBytes(0x0004_4040)); // An interprocessor interrupt to itself.
        host.MmioWrite(0, PcLayout.LocalApic + 0x300, BitConverter.GetBytes(0x0004_4400)); // And an NMI.
        Assert.Equal(0, engine.Vcpus[0].CallsAfterDispose);
    }

    // A clock that runs on may be about to tell a vCPU of its timer: the vCPU stays until it has.
    [Fact]
    public void An_alarm_in_flight_ends_before_the_machine_does()
    {
        using var clock = new HostClock();
        using var told = new ManualResetEventSlim();
        using var disposed = new ManualResetEventSlim();
        bool late = false;
        bool armed = false;
        var engine = new FakeEngine(vcpu =>
        {
            Apic(vcpu, 0xF0, 0x1FF);
            Apic(vcpu, 0x320, 0x40);
            Volatile.Write(ref armed, true);
            Apic(vcpu, 0x380, 1);
            told.Wait();
            return VmExit.Shutdown;
        });
        engine.Notified = () =>
        {
            if (Volatile.Read(ref armed) && !told.IsSet)
            {
                told.Set();
                late = disposed.Wait(300); // In vain, as the machine waits for this call.
            }
        };
        engine.VmDisposed = disposed.Set;
        using (var pc = new Machine(Config with { Clock = clock }, engine))
        {
            pc.Run();
        }

        Assert.True(disposed.IsSet);
        Assert.False(late);
    }

    [Fact]
    public async Task Disposing_ends_a_run()
    {
        using var started = new ManualResetEventSlim();
        var engine = new FakeEngine(vcpu =>
        {
            started.Set();
            return vcpu.Spin();
        });
        var pc = new Machine(Config, engine);
        Task<MachineEnd> run = Task.Run(pc.Run, TestContext.Current.CancellationToken);
        started.Wait(TestContext.Current.CancellationToken);
        pc.Dispose();
        Assert.Equal(EndReason.Stopped, (await run).Reason);
    }

    [Fact]
    public void A_fault_of_another_thread_ends_the_run_and_reaches_its_caller()
    {
        var fault = new InvalidOperationException("a fault of a thread's");
        Machine? pc = null;
        using (pc = new Machine(Config, new FakeEngine(vcpu =>
        {
            pc!.Fail(fault);
            pc.Fail(new InvalidOperationException("a later one"));
            return vcpu.Spin();
        })))
        {
            Assert.Same(fault, Assert.Throws<InvalidOperationException>(pc.Run));
        }

        using var clockFails = new Machine(Config, new FakeEngine(vcpu =>
        {
            _clock.Fail(fault);
            return vcpu.Spin();
        }));
        Assert.Same(fault, Assert.Throws<InvalidOperationException>(clockFails.Run));
    }

    private string In(string name) => Path.Combine(_folder, name);

    private static void Apic(FakeVcpu vcpu, ulong register, uint value) => vcpu.Host.MmioWrite(vcpu.Id, PcLayout.LocalApic + register, BitConverter.GetBytes(value));

    // The kernel lists a thread for a moment longer than it can be joined.
    private static void AssertThreadsAre(string[] expected)
    {
        SpinWait.SpinUntil(() => OwnThreads().SequenceEqual(expected), TimeSpan.FromSeconds(30));
        Assert.Equal(expected, OwnThreads());
    }

    // Those of machines, which no other test of this assembly starts. The kernel cuts names at 15 bytes.
    private static string[] OwnThreads()
    {
        string[] own = ["network", "vsock", "port", "virtio"];
        return [.. Directory.GetDirectories("/proc/self/task").Select(NameOf).Where(name => own.Any(o => name.StartsWith(o, StringComparison.Ordinal))).Order()];

        static string NameOf(string task)
        {
            try
            {
                return File.ReadAllText(Path.Combine(task, "comm")).Trim();
            }
            catch (IOException)
            {
                return ""; // It has just ended.
            }
        }
    }

    // Open files of this test's folder, and memory of its machines.
    private List<string> OwnFiles()
    {
        List<string> found = [];
        foreach (string link in Directory.GetFiles("/proc/self/fd"))
        {
            string? target = new FileInfo(link).LinkTarget;
            if (target?.StartsWith(_folder, StringComparison.Ordinal) == true)
            {
                found.Add(target);
            }
            else if (target?.StartsWith("/memfd:yadokari-ram", StringComparison.Ordinal) == true)
            {
                using SafeFileHandle file = File.OpenHandle(link, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
                if (RandomAccess.GetLength(file) == (long)OwnMemory)
                {
                    found.Add(target);
                }
            }
        }

        return found;
    }

    private sealed class Silence : IConsole
    {
        public void Write(ReadOnlySpan<byte> bytes)
        {
        }
    }
}
