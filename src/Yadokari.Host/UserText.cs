namespace Yadokari.Host;

/// <summary>Parts of sentences for users.</summary>
public static class UserText
{
    /// <summary>A value in a sentence: in quotes where nothing would be seen of it.</summary>
    public static string Shown(string value) => string.IsNullOrWhiteSpace(value) ? $"'{value}'" : value;

    /// <summary>What is said of an exception that nothing expected.</summary>
    public static string Fault(Exception error) => $"a fault of its own: {error}";
}
