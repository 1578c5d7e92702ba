using System.Diagnostics;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Machines.Tests;

/// <summary>Distribution kernels, where the host has them: set YADOKARI_TEST_KERNELS to a list of files, divided by colons.</summary>
public sealed class RealKernelTests
{
    public static TheoryData<string> Kernels
    {
        get
        {
            var data = new TheoryData<string>();
            string[] files = (Environment.GetEnvironmentVariable("YADOKARI_TEST_KERNELS") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries);
            foreach (string file in files.DefaultIfEmpty("none"))
            {
                data.Add(file);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Unpacks_and_is_entered_directly(string path)
    {
        Assert.SkipUnless(File.Exists(path), "YADOKARI_TEST_KERNELS names no kernel file");
        using GuestMemory memory = TestMemory.OfMiB(512);
        var state = new X86State();
        long start = Stopwatch.GetTimestamp();
        KernelImage kernel = KernelImage.Open(path);
        BootReport report = BootLoader.Load(kernel, memory, new BootParameters { CommandLine = "console=ttyS0" }, state);
        TestContext.Current.SendDiagnosticMessage($"{path}: {report}, {Stopwatch.GetElapsedTime(start).TotalMilliseconds} ms in all");
        Assert.Equal("linux64 direct", report.Protocol);
        Assert.True(memory.TrySlice(0x100_0000, 64 << 20, out Span<byte> kernelMemory));
        Assert.True(kernelMemory.IndexOf("Linux version "u8) > 0);
    }
}
