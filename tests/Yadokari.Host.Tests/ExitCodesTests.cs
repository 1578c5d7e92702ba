using Xunit;
using Yadokari.Machines;

namespace Yadokari.Host.Tests;

public sealed class ExitCodesTests
{
    [Theory]
    [InlineData(EndReason.PowerOff, null, 0)]
    [InlineData(EndReason.Panic, null, 3)]
    [InlineData(EndReason.Reset, "Kernel panic", 3)]
    [InlineData(EndReason.TripleFault, "Kernel panic", 3)]
    [InlineData(EndReason.TripleFault, null, 4)]
    [InlineData(EndReason.DebugExit, null, 33)]
    [InlineData(EndReason.Stopped, null, 130)]
    [InlineData(EndReason.Reset, null, 1)]
    public void Each_end_has_its_code(EndReason reason, string? panic, int code) =>
        Assert.Equal(code, ExitCodes.Of(new MachineEnd(reason) { Panic = panic, Code = 16 }));
}
