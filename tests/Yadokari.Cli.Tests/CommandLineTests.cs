using Xunit;

namespace Yadokari.Cli.Tests;

public sealed class CommandLineTests
{
    [Fact]
    public void Exit_codes_of_guests_differ_from_those_of_errors()
    {
        int[] codes = [ExitCodes.Success, ExitCodes.Internal, ExitCodes.BadInput, ExitCodes.GuestPanic, ExitCodes.TripleFault, ExitCodes.EndedByUser];
        Assert.Equal(codes.Length, codes.Distinct().Count());
    }

    [Fact]
    public void Skipping() => Assert.SkipWhen(true, "just because");
}
