global using Xunit;
global using Vector = Yadokari.X86.Vector;
