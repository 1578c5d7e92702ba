using Xunit.Sdk;
using Xunit.v3;

namespace Yadokari.Guests.Tests;

/// <summary>Starts the classes that take longest first, so that none of them runs on by itself when all others are done.</summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    private static readonly string[] s_longest = [nameof(DebianWorkTests), nameof(ExerciseTests), nameof(DebianTests), nameof(DiskTests), nameof(SuiteTests)];

    /// <inheritdoc/>
    public IReadOnlyCollection<TTestCollection> OrderTestCollections<TTestCollection>(IReadOnlyCollection<TTestCollection> testCollections)
        where TTestCollection : ITestCollection =>
        [.. testCollections.OrderBy(static collection => Rank(collection.TestCollectionDisplayName)).ThenBy(static collection => collection.TestCollectionDisplayName, StringComparer.Ordinal)];

    private static int Rank(string collection)
    {
        var rank = Array.FindIndex(s_longest, name => collection.Contains('.' + name, StringComparison.Ordinal));
        return rank < 0 ? s_longest.Length : rank;
    }
}
