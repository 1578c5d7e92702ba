global using Xunit;
global using Yadokari.Boards.Pc;
global using Yadokari.Boards.Specs;
