using Yadokari.Guests.Tests;

// A guest waits for much of its time (timers, disks, downloads, one busy processor of two), so that two beside each other end sooner than one
// after the other; more would starve each other. What must have the host for itself is in AloneCollection.
[assembly: CollectionBehavior(MaxParallelThreads = 2)]
[assembly: TestCollectionOrderer(typeof(LongestFirst))]
