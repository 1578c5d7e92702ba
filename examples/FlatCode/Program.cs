using Yadokari;

// 64-bit code at 400000, data at 600000 that it may read only.
using var machine = new FlatMachine(FlatMode.Long64, new FlatOptions { User = true });
machine.Map(0x400000, 4096, MemoryRights.Execute);
machine.Map(0x600000, 4096, MemoryRights.Read);
machine.Write(0x600000, BitConverter.GetBytes(41ul));
machine.Write(0x400000,
[
    0x48, 0x8B, 0x07,       // mov rax,[rdi]
    0x48, 0xFF, 0xC0,       // inc rax
    0xF3, 0x0F, 0x7E, 0x0F, // movq xmm1,[rdi]
    0x48, 0x89, 0x07,       // mov [rdi],rax
]);

machine.Registers.Rip = 0x400000;
machine.Registers.Rdi = 0x600000;
FlatStop stop = machine.Run(budget: 1000);

byte[] xmm = new byte[16];
machine.Vectors.Read(1, xmm);
Console.WriteLine($"rax {machine.Registers.Rax}, xmm1 {BitConverter.ToUInt64(xmm)}");
Console.WriteLine($"{stop.Reason} {stop.Vector}, error code {stop.ErrorCode:X}, at {machine.Registers.Rip:X}, address {stop.Address:X}");
