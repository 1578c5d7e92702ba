using Yadokari.Cli;
using Yadokari.Host;
using Yadokari.Host.Consoles;

// The monitor's threads report their exceptions; this handles thread-pool threads, such as timers'. The terminal's mode is restored.
AppDomain.CurrentDomain.UnhandledException += (_, unhandled) =>
{
    StandardStreams.Error.WriteLine($"yado: {UserText.Fault((Exception)unhandled.ExceptionObject)}");
    Environment.Exit(ExitCodes.Internal);
};
return CommandLine.Run(args);
