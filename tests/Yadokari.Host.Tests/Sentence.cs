using Xunit;

namespace Yadokari.Host.Tests;

/// <summary>What a message for users must be: one sentence that says what is wrong, and then the remedy.</summary>
internal static class Sentence
{
    public static void Check(string message)
    {
        Assert.DoesNotContain('\r', message);
        Assert.EndsWith(".", message);
        Assert.Contains(": ", message);
    }
}
