using Yadokari.Cli;
using Yadokari.Host;
using Yadokari.Host.Consoles;

// Threads of the monitor's own tell of what they met; this is for those that the runtime lends, such as timers'. A terminal gets its mode back.
AppDomain.CurrentDomain.UnhandledException += (_, unhandled) =>
{
    StandardStreams.Error.WriteLine($"yado: {UserText.Fault((Exception)unhandled.ExceptionObject)}");
    Environment.Exit(ExitCodes.Internal);
};
return CommandLine.Run(args);
