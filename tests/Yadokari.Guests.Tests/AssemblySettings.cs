// Each machine keeps a processor busy; several at once would only slow each other down.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
