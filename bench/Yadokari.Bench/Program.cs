using Yadokari.Guests;

var images = new GuestImages(new GuestCache(progress: Console.Error.WriteLine));
Console.WriteLine(images.Kernel(KernelFlavour.Cloud));
Console.WriteLine(images.Kernel(KernelFlavour.Generic));
Console.WriteLine(images.Compressed(images.MiniInitrd()));
Console.WriteLine(images.Compressed(images.BenchInitrd()));
Console.WriteLine(images.BenchTree());
Console.WriteLine(images.Compressed(images.NodeInitrd()));
