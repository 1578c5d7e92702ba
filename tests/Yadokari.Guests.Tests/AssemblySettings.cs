// A guest waits for much of its time (timers, disks, its own single processor), so that two together end sooner than one after the other.
// More would starve each other. What measures time, or needs the processors for itself, is in AloneCollection.
[assembly: CollectionBehavior(MaxParallelThreads = 2)]
