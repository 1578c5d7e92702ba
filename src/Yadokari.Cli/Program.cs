return Yadokari.Cli.CommandLine.Run(args);
