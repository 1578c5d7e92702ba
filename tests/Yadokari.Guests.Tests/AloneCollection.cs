namespace Yadokari.Guests.Tests;

/// <summary>Tests of time, which a guest beside them would make wait: they run one after the other and beside no other.</summary>
[CollectionDefinition(nameof(AloneCollection), DisableParallelization = true)]
public sealed class AloneCollection;
