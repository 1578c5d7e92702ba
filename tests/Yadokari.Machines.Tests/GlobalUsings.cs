global using Xunit;
global using Yadokari.Boards.Pc;
