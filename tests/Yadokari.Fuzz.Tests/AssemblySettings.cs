using System.Runtime.Versioning;

[assembly: SupportedOSPlatform("linux")]

// Each target keeps all processors busy, and what it leaves behind is counted for the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
