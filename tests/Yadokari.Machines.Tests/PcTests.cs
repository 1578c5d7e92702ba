using System.Text;
using Yadokari.Core;
using Yadokari.Core.Engines;
using Yadokari.Devices.Power;
using Yadokari.Devices.Serial;
using Yadokari.X86.State;

namespace Yadokari.Machines.Tests;

public sealed class PcTests : IDisposable
{
    private const ushort SleepEnable = 1 << 13;
    private const string PanicLine = "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n";
    private const string LastLine = "[    1.1] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\r\n";

    private readonly string _kernel = Path.GetTempFileName();
    private readonly ManualClock _clock = new();
    private readonly Screen _screen = new();

    public PcTests()
    {
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, null, (0x1000, SyntheticKernel.Preferred, [0xF4], 1));
        File.WriteAllBytes(_kernel, SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length));
    }

    private PcConfig Config => new() { Memory = 32 << 20, Kernel = _kernel, Console = _screen, Clock = _clock };

    public void Dispose() => File.Delete(_kernel);

    [Fact]
    public void A_default_command_line_is_for_linux()
    {
        File.WriteAllBytes(_kernel, MultibootTests.Kernel1(0x1_0003, 0, 0x20_0000, 0x20_0000, 0, 0, 0x20_0000));
        foreach (bool isDefault in (bool[])[true, false])
        {
            string text = "";
            var engine = new FakeEngine(vcpu =>
            {
                text = Encoding.ASCII.GetString(vcpu.Memory.Bytes(vcpu.Memory.U32(vcpu.State.Gpr[3] + 16), 64)).Split('\0')[0];
                return VmExit.Shutdown;
            });
            using var pc = new Machine(Config with { CommandLine = "console=ttyS0", IsDefaultCommandLine = isDefault }, engine);
            pc.Run();
            Assert.Equal(Path.GetFileName(_kernel) + (isDefault ? "" : " console=ttyS0"), text);
        }
    }

    [Fact]
    public void A_kernel_finds_multiprocessor_tables_in_the_bios_area()
    {
        int at = -1;
        var engine = new FakeEngine(vcpu =>
        {
            at = vcpu.Memory.Bytes(0xF_0000, 0x1_0000).AsSpan().IndexOf("_MP_"u8);
            return VmExit.Shutdown;
        });
        using var pc = new Machine(Config, engine);
        pc.Run();
        Assert.Equal(0, at & 15);
        Assert.Equal(0xF_0000u + (uint)at + 16, pc.Memory.U32(0xF_0000u + (uint)at + 4));
    }

    [Fact]
    public void Power_off_ends_the_run()
    {
        var engine = new FakeEngine(vcpu =>
        {
            vcpu.Out16(PcLayout.PowerManagement + AcpiPowerManagement.Pm1ControlOffset, SleepEnable | (AcpiPowerManagement.SoftOff << 10));
            return vcpu.Spin();
        });
        using var pc = new Machine(Config, engine);
        Assert.Equal(EndReason.PowerOff, pc.Run().Reason);
    }

    [Theory]
    [InlineData(PcLayout.ResetControl, 0x06)]
    [InlineData(PcLayout.KeyboardCommand, 0xFE)]
    [InlineData(PcLayout.SystemControlA, 0x01)]
    public void A_reset_starts_the_kernel_again(ushort port, byte value)
    {
        int boots = 0;
        var engine = new FakeEngine(vcpu =>
        {
            Assert.Equal(SyntheticKernel.Preferred, vcpu.State.Rip);
            Assert.Equal(0xF4, vcpu.Memory.Bytes(SyntheticKernel.Preferred, 1)[0]);
            vcpu.Memory.Write(SyntheticKernel.Preferred, [0]);
            if (++boots == 3)
            {
                return VmExit.Shutdown;
            }

            vcpu.Out(port, value);
            return vcpu.Spin();
        });
        using var pc = new Machine(Config, engine);
        MachineEnd end = pc.Run();
        Assert.Equal(EndReason.TripleFault, end.Reason);
        Assert.Equal(SyntheticKernel.Preferred, end.State!.Rip);
        Assert.Equal(3, boots);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_reset_after_a_panic_ends_the_run(bool panics)
    {
        int restarts = 0;
        int runs = 0;
        var engine = new FakeEngine(vcpu =>
        {
            if (++runs == 2)
            {
                return VmExit.Shutdown;
            }

            vcpu.Print(panics ? PanicLine : "restarting\n");
            vcpu.Out(PcLayout.ResetControl, 6);
            return vcpu.Spin();
        });
        using var pc = new Machine(Config, engine);
        pc.Restarted += () => restarts++;
        Assert.Equal((panics ? EndReason.Reset : EndReason.TripleFault, panics ? 0 : 1), (pc.Run().Reason, restarts));
    }

    [Fact]
    public void A_reset_ends_the_run_where_asked()
    {
        var engine = new FakeEngine(vcpu =>
        {
            vcpu.Print(PanicLine);
            vcpu.Out(PcLayout.ResetControl, 6);
            return vcpu.Spin();
        });
        using var pc = new Machine(Config with { RestartOnReset = false }, engine);
        MachineEnd end = pc.Run();
        Assert.Equal(EndReason.Reset, end.Reason);
        Assert.Equal("Kernel panic - not syncing: VFS: Unable to mount root fs", end.Panic);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_console_without_room_holds_no_guest_up_and_is_left_at_the_end(bool virtioConsole)
    {
        const ushort lineStatus = PcLayout.Com1 + 5;
        const ushort unmaskedPic = PcLayout.PicPrimary;
        var seen = new List<byte>();
        var engine = new FakeEngine(vcpu =>
        {
            vcpu.Out(PcLayout.Com1 + 4, 0x08);
            vcpu.Out(PcLayout.Com1 + 1, 0x02);
            vcpu.Out(PcLayout.Com1, (byte)'a');
            seen.Add(vcpu.In(lineStatus));
            _screen.HasRoom = false;
            vcpu.Out(PcLayout.Com1, (byte)'b');
            seen.Add(vcpu.In(lineStatus));
            seen.Add((byte)(vcpu.In(unmaskedPic) & (1 << PcLayout.Com1Irq)));
            _screen.MakeRoom();
            seen.Add(vcpu.In(lineStatus));
            seen.Add((byte)(vcpu.In(unmaskedPic) & (1 << PcLayout.Com1Irq)));
            return VmExit.Shutdown;
        });
        using (var pc = new Machine(Config with { VirtioConsole = virtioConsole }, engine))
        {
            pc.Run();
        }

        Assert.Equal([0x60, 0x00, 0x00, 0x60, 1 << PcLayout.Com1Irq], seen);
        Assert.Equal("ab", _screen.Text);
        Assert.False(_screen.IsAwaited);
    }

    [Fact]
    public void A_driver_without_modem_control_gets_what_was_typed_before_it_once_it_lets_the_interrupt_through()
    {
        const ushort data = PcLayout.Com1;
        const ushort lineStatus = PcLayout.Com1 + 5;
        var seen = new List<int>();
        var engine = new FakeEngine(vcpu =>
        {
            // As xv6 starts it (uart.c).
            vcpu.Out(PcLayout.Com1 + 1, 0x01);
            vcpu.In(PcLayout.Com1 + 2);
            vcpu.In(data);
            seen.Add(vcpu.In(lineStatus) & 1);
            _clock.Advance(TimeSpan.FromSeconds(1));
            seen.Add(vcpu.In(lineStatus) & 1);
            seen.Add(vcpu.In(PcLayout.PicPrimary) & (1 << PcLayout.Com1Irq));
            seen.Add(vcpu.In(data));
            seen.Add(vcpu.In(data));
            return VmExit.Shutdown;
        });
        using var pc = new Machine(Config, engine);
        Assert.Equal(2, pc.Type("ls"u8));
        pc.Run();
        Assert.Equal([0, 1, 1 << PcLayout.Com1Irq, 'l', 's'], seen);
    }

    [Fact]
    public void A_panic_after_which_the_guest_spins_ends_the_run()
    {
        var engine = new FakeEngine(vcpu =>
        {
            vcpu.Print(PanicLine + LastLine);
            Task.Run(() => _clock.Advance(TimeSpan.FromSeconds(1)), TestContext.Current.CancellationToken);
            return vcpu.Spin();
        });
        using var pc = new Machine(Config, engine);
        MachineEnd end = pc.Run();
        Assert.Equal(EndReason.Panic, end.Reason);
        Assert.Equal("Kernel panic - not syncing: VFS: Unable to mount root fs", end.Panic);
        Assert.Equal(PanicLine + LastLine, _screen.Text);
    }

    [Fact]
    public void A_guest_that_only_shows_an_old_panic_lives_on()
    {
        Machine? pc = null;
        var engine = new FakeEngine(vcpu =>
        {
            vcpu.Print(PanicLine + LastLine);
            Task.Run(() =>
            {
                // The halt counts once the vCPU has returned with it.
                SpinWait.SpinUntil(() => pc!.Statistics.Any(row => row is { Name: "halts", Value: > 0 }));
                _clock.Advance(TimeSpan.FromMinutes(1));
                pc!.Stop();
            });
            return VmExit.Halted;
        });
        using (pc = new Machine(Config, engine))
        {
            MachineEnd end = pc.Run();
            Assert.Equal(EndReason.Stopped, end.Reason);
            Assert.Null(end.Panic);
        }
    }

    [Fact]
    public void The_panic_device_tells_too()
    {
        var engine = new FakeEngine(vcpu =>
        {
            Assert.Equal(1, vcpu.In(PcLayout.Panic) & 1);
            vcpu.Out(PcLayout.Panic, 1);
            Task.Run(() => _clock.Advance(TimeSpan.FromMinutes(1)), TestContext.Current.CancellationToken);
            return vcpu.Spin();
        });
        using var pc = new Machine(Config, engine);
        Assert.Equal(EndReason.Panic, pc.Run().Reason);
    }

    [Fact]
    public async Task Stop_ends_a_guest_that_sleeps_and_one_that_runs_and_one_not_yet_started()
    {
        foreach (bool halts in (bool[])[true, false])
        {
            using var started = new ManualResetEventSlim();
            var engine = new FakeEngine(vcpu =>
            {
                started.Set();
                return halts ? VmExit.Halted : vcpu.Spin();
            });
            using var pc = new Machine(Config with { Cpus = 2 }, engine);
            Task<MachineEnd> run = Task.Run(pc.Run, TestContext.Current.CancellationToken);
            started.Wait(TestContext.Current.CancellationToken);
            pc.Stop();
            Assert.Equal(EndReason.Stopped, (await run).Reason);
        }

        using var never = new Machine(Config, new FakeEngine(vcpu => vcpu.Spin()));
        never.Stop();
        Assert.Equal(EndReason.Stopped, never.Run().Reason);
    }

    [Fact]
    public async Task A_halted_guest_is_not_run_again_without_cause()
    {
        using var started = new ManualResetEventSlim();
        var engine = new FakeEngine(_ =>
        {
            started.Set();
            return VmExit.Halted;
        });
        using var pc = new Machine(Config, engine);
        Task<MachineEnd> run = Task.Run(pc.Run, TestContext.Current.CancellationToken);
        started.Wait(TestContext.Current.CancellationToken);
        await Task.Delay(100, TestContext.Current.CancellationToken); // Being run again is what must not happen: there is nothing to wait for.
        pc.Stop();
        await run;
        Assert.InRange(engine.Vcpus[0].Runs, 1, 2);
    }

    [Fact]
    public void A_halted_guest_that_is_woken_without_an_interrupt_sleeps_on_and_an_interrupt_wakes_it()
    {
        int runs = 0;
        Machine? pc = null;
        var engine = new FakeEngine(vcpu =>
        {
            if (++runs == 2)
            {
                return vcpu.Host.AcknowledgeInterrupt(0) == 0x40 ? VmExit.Shutdown : vcpu.Spin();
            }

            Task.Delay(50).ContinueWith(_ => // Nothing tells that it sleeps.
            {
                pc!.Pause();
                pc.Resume();
                Thread.Sleep(50); // Nor that it goes on sleeping.
                Assert.Equal(1, runs);

                // An interprocessor interrupt to itself, from outside to keep the test short.
                Apic(vcpu, 0x300, 0x0004_4040);
            });
            return VmExit.Halted;
        });
        using (pc = new Machine(Config, engine))
        {
            Assert.Equal(EndReason.TripleFault, pc.Run().Reason);
        }
    }

    [Fact]
    public async Task A_guest_that_halted_with_interrupts_disabled_is_not_run_again_for_one()
    {
        using var started = new ManualResetEventSlim();
        var engine = new FakeEngine(vcpu =>
        {
            Apic(vcpu, 0x300, 0x0004_4040);
            started.Set();
            return VmExit.HaltedWithInterruptsDisabled;
        });
        using var pc = new Machine(Config, engine);
        Task<MachineEnd> run = Task.Run(pc.Run, TestContext.Current.CancellationToken);
        started.Wait(TestContext.Current.CancellationToken);
        await Task.Delay(100, TestContext.Current.CancellationToken); // Being run again is what must not happen: there is nothing to wait for.
        Assert.True(engine.Vcpus[0].Host.HasInterrupt(0));
        Assert.Equal(1, engine.Vcpus[0].Runs);
        pc.Stop();
        Assert.Equal(EndReason.Stopped, (await run).Reason);
    }

    [Fact]
    public void Other_processors_wait_for_their_start_up_message()
    {
        var engine = new FakeEngine(vcpu =>
        {
            if (vcpu.Id == 1)
            {
                return VmExit.Shutdown;
            }

            Apic(vcpu, 0x310, 1 << 24);
            Apic(vcpu, 0x300, 0x4500);
            Apic(vcpu, 0x310, 1 << 24);
            Apic(vcpu, 0x300, 0x4612);
            return vcpu.Spin();
        });
        using var pc = new Machine(Config with { Cpus = 2 }, engine);
        MachineEnd end = pc.Run();
        Assert.Equal(EndReason.TripleFault, end.Reason);
        Assert.Equal(1, end.Vcpu);
        Assert.Equal(0x12000UL, engine.Vcpus[1].State.Segments[1].Base);
        Assert.Equal(0x1200, engine.Vcpus[1].State.Segments[1].Selector);
        Assert.Equal(0UL, engine.Vcpus[1].State.Rip);
    }

    [Fact]
    public void A_start_up_message_that_comes_while_INIT_is_being_taken_is_not_lost()
    {
        int starts = 0;
        using var started = new ManualResetEventSlim();
        FakeVcpu? boot = null;
        var engine = new FakeEngine(vcpu =>
        {
            if (vcpu.Id == 0)
            {
                boot = vcpu;
                SendTo1(vcpu, Init);
                SendTo1(vcpu, StartUp | 0x12);
                started.Wait(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
                SendTo1(vcpu, Init);
                return vcpu.Spin();
            }

            if (++starts == 2)
            {
                return VmExit.Shutdown;
            }

            vcpu.OnLoad = _ =>
            {
                vcpu.OnLoad = null;
                SendTo1(boot!, StartUp | 0x13);
            };
            started.Set();
            return vcpu.Spin();
        });
        MachineEnd end = RunOrStop(Config with { Cpus = 2 }, engine);
        Assert.Equal((EndReason.TripleFault, 1), (end.Reason, end.Vcpu));
        Assert.Equal(0x13000UL, engine.Vcpus[1].State.Segments[1].Base);
    }

    [Fact]
    public void Of_two_start_up_messages_the_first_counts()
    {
        FakeEngine? engine = null;
        engine = new FakeEngine(vcpu =>
        {
            if (vcpu.Id == 1)
            {
                return VmExit.Shutdown;
            }

            // It can't take the first before the second has come.
            FakeVcpu other = engine!.Vcpus[1];
            other.OnLoad = _ =>
            {
                other.OnLoad = null;
                SendTo1(vcpu, StartUp | 0x12);
                SendTo1(vcpu, StartUp | 0x13);
            };
            SendTo1(vcpu, Init);
            return vcpu.Spin();
        });
        MachineEnd end = RunOrStop(Config with { Cpus = 2 }, engine);
        Assert.Equal(1, end.Vcpu);
        Assert.Equal(0x12000UL, engine.Vcpus[1].State.Segments[1].Base);
    }

    [Fact]
    public void INIT_wakes_a_halted_processor_and_leaves_what_it_does_not_reset()
    {
        int starts = 0;
        using var halted = new ManualResetEventSlim();
        var engine = new FakeEngine(vcpu =>
        {
            if (vcpu.Id == 0)
            {
                SendTo1(vcpu, Init);
                SendTo1(vcpu, StartUp | 0x12);
                halted.Wait(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
                SendTo1(vcpu, Init);
                SendTo1(vcpu, StartUp | 0x13);
                return vcpu.Spin();
            }

            if (++starts == 2)
            {
                return VmExit.Shutdown;
            }

            (vcpu.State.Cr0, vcpu.State.Cr3, vcpu.State.Efer, vcpu.State.Xcr0) = (0xC005_0033, 0x5000, 0xD00, 7);
            vcpu.State.Xsave = [1, 2, 3];
            vcpu.State.Msrs[0xC000_0082] = 0x1234;
            vcpu.State.Gpr[3] = 5;
            halted.Set();
            return VmExit.HaltedWithInterruptsDisabled;
        });
        Assert.Equal(1, RunOrStop(Config with { Cpus = 2 }, engine).Vcpu);
        X86State after = engine.Vcpus[1].State;
        Assert.Equal(0x13000UL, after.Segments[1].Base);
        Assert.Equal((0x4000_0000ul, 0ul, 0ul, 7ul), (after.Cr0, after.Cr3, after.Efer, after.Xcr0));
        Assert.Equal<byte>([1, 2, 3], after.Xsave);
        Assert.Equal(0x1234ul, after.Msrs[0xC000_0082]);
        Assert.Equal(0ul, after.Gpr[3]);
    }

    [Fact]
    public void INIT_sends_the_bootstrap_processor_to_the_reset_vector()
    {
        int runs = 0;
        var engine = new FakeEngine(vcpu =>
        {
            if (++runs == 2)
            {
                return VmExit.Shutdown;
            }

            Apic(vcpu, 0x310, 0);
            Apic(vcpu, 0x300, Init);
            return vcpu.Spin();
        });
        MachineEnd end = RunOrStop(Config, engine);
        Assert.Equal((EndReason.TripleFault, 0xFFF0ul), (end.Reason, end.State!.Rip));
    }

    [Fact]
    public void A_reset_reaches_what_no_load_of_registers_does()
    {
        int boots = 0;
        var engine = new FakeEngine(vcpu =>
        {
            if (++boots == 2)
            {
                return VmExit.Shutdown;
            }

            vcpu.Out(PcLayout.ResetControl, 6);
            return vcpu.Spin();
        });
        RunOrStop(Config, engine);
        Assert.Equal(1, engine.Resets);
    }

    [Fact]
    public void A_TSC_deadline_comes_with_the_counter_that_the_guest_moved()
    {
        (bool Before, bool After) interrupted = default;
        var engine = new FakeEngine(vcpu =>
        {
            Apic(vcpu, 0xF0, 0x1FF);
            Apic(vcpu, 0x320, (2 << 17) | 0x40);
            Assert.True(vcpu.Host.WriteMsr(0, 0x6E0, 1_000_000));
            interrupted.Before = vcpu.Host.HasInterrupt(0);
            vcpu.Tsc = 1_000_000;
            vcpu.Host.TscChanged(0);
            interrupted.After = vcpu.Host.HasInterrupt(0);
            return VmExit.Shutdown;
        })
        {
            ClockFrequency = 1_000_000_000,
        };
        RunOrStop(Config, engine);
        Assert.Equal((false, true), interrupted);
    }

    [Fact]
    public void An_engines_own_fault_reaches_the_caller()
    {
        using var pc = new Machine(Config, new FakeEngine(_ => throw new InvalidOperationException("a fault of the engine's")));
        Assert.Equal("a fault of the engine's", Assert.Throws<InvalidOperationException>(pc.Run).Message);
    }

    [Fact]
    public void The_guest_reads_what_is_typed_however_much()
    {
        const int count = 200_000;
        byte[] typed = new byte[count];
        byte[] keys = SyntheticKernel.Pattern(count, 3);
        int got = 0;
        Machine? pc = null;
        var engine = new FakeEngine(vcpu =>
        {
            int given = pc!.Type(keys);
            Assert.InRange(given, 65_536, 65_600); // As much as it keeps for a guest that reads nothing, and a FIFO.
            Assert.Equal(0, pc.Type([1]));
            vcpu.Out(PcLayout.Com1 + 2, 1); // Turning the FIFOs on empties them: what was typed waits for RTS.
            vcpu.Out(PcLayout.Com1 + 4, 0x0B);
            while (got < count)
            {
                if ((vcpu.In(PcLayout.Com1 + 5) & 1) != 0)
                {
                    typed[got++] = vcpu.In(PcLayout.Com1);
                    given += pc.Type(keys.AsSpan(given, Math.Min(count - given, 1 + (got % 7))));
                }
            }

            return VmExit.Shutdown;
        });
        using (pc = new Machine(Config, engine))
        {
            pc.Run();
        }

        Assert.Equal(keys, typed);
    }

    [Fact]
    public void A_test_guest_may_end_with_a_code()
    {
        var engine = new FakeEngine(vcpu =>
        {
            vcpu.Out(PcLayout.DebugConsole, (byte)'!');
            vcpu.Out(PcLayout.DebugExit, 42);
            return vcpu.Spin();
        });
        using var pc = new Machine(Config with { Devices = [new TestDeviceSpec(TestDevice.DebugExit), new TestDeviceSpec(TestDevice.DebugConsole)] }, engine);
        MachineEnd end = pc.Run();
        Assert.Equal((EndReason.DebugExit, 42u), (end.Reason, end.Code));
        Assert.Equal("!", _screen.Text);
    }

    [Fact]
    public void Without_a_screen_the_cursor_can_still_be_moved()
    {
        var engine = new FakeEngine(vcpu =>
        {
            Assert.Equal((0, 0), (Cursor(vcpu, 0x0E), Cursor(vcpu, 0x0F)));
            vcpu.Out(0x3D5, 0x50);
            Assert.Equal(0x50, Cursor(vcpu, 0x0F));
            vcpu.Memory.Write(0xB_8000, [(byte)'x', 7]);
            Assert.Equal((byte)'x', vcpu.Memory.Bytes(0xB_8000, 1)[0]);

            // Kernels that ask are told of no screen.
            Assert.Equal(0, vcpu.Memory.Bytes(PcLayout.ZeroPage + 0x0F, 1)[0]);
            return VmExit.Shutdown;
        });
        using var pc = new Machine(Config, engine);
        Assert.Equal(EndReason.TripleFault, pc.Run().Reason);
        Assert.False(pc.Look(new Devices.Display.TextFrame()));

        static byte Cursor(FakeVcpu vcpu, byte register)
        {
            vcpu.Out(0x3D4, register);
            return vcpu.In(0x3D5);
        }
    }

    [Fact]
    public void A_debug_port_that_is_taken_is_refused()
    {
        PcConfig config = Config with { Devices = [new TestDeviceSpec(TestDevice.DebugExit, PcLayout.Com1)] };
        Assert.Contains("3f8", Assert.ThrowsAny<UserErrorException>(() => new Machine(config, new FakeEngine(vcpu => vcpu.Spin()))).Message);
    }

    [Fact]
    public void Statistics_name_what_was_used()
    {
        var engine = new FakeEngine(vcpu =>
        {
            vcpu.Print("hello");
            return VmExit.Shutdown;
        });
        using var pc = new Machine(Config, engine);
        pc.Run();
        Assert.Contains(("fake", "runs", 1, ""), pc.Statistics);
        Assert.Contains(("pio", "com1 writes", 5, ""), pc.Statistics);
        Assert.DoesNotContain(pc.Statistics, s => s.Name.StartsWith("pit"));
        Assert.Contains(pc.Statistics, s => s.Group == "boot" && s.Name.Contains("lz4"));
    }

    [Theory]
    [InlineData(0, 1, "0 bytes is too little")]
    [InlineData(3 << 20, 1, "give at least 4M")]
    [InlineData((5 << 20) + 1, 1, "are not a whole number of mebibytes")]
    [InlineData(1L << 50, 1, "/memory 1024T is more than this host has")]
    [InlineData(32 << 20, 0, "A machine of 0 CPUs")]
    [InlineData(32 << 20, 33, "A machine of 33 CPUs")]
    public void A_configuration_out_of_range_is_refused(long memory, int cpus, string expected)
    {
        var e = Assert.ThrowsAny<UserErrorException>(() => new Machine(Config with { Memory = (ulong)memory, Cpus = cpus }, new FakeEngine(v => v.Spin())));
        Assert.Contains(expected, e.Message);
    }

    private const uint Init = 0x4500;
    private const uint StartUp = 0x4600;

    private static void SendTo1(FakeVcpu vcpu, uint command)
    {
        Apic(vcpu, 0x310, 1 << 24);
        Apic(vcpu, 0x300, command);
    }

    // A machine that hangs is stopped after a while.
    private static MachineEnd RunOrStop(PcConfig config, FakeEngine engine)
    {
        using var pc = new Machine(config, engine);
        using var limit = new Timer(_ => pc.Stop(), null, TimeSpan.FromMinutes(1), Timeout.InfiniteTimeSpan);
        return pc.Run();
    }

    private static void Apic(FakeVcpu vcpu, ulong register, uint value) => vcpu.Host.MmioWrite(vcpu.Id, PcLayout.LocalApic + register, BitConverter.GetBytes(value));

    private sealed class Screen : IConsole
    {
        private readonly StringBuilder _text = new();

        public event Action? Ready;

        public string Text => _text.ToString();

        public bool HasRoom { get; set; } = true;

        public bool IsAwaited => Ready is not null;

        public void MakeRoom()
        {
            HasRoom = true;
            Ready?.Invoke();
        }

        public void Write(ReadOnlySpan<byte> bytes) => _text.Append(Encoding.ASCII.GetString(bytes));
    }
}
