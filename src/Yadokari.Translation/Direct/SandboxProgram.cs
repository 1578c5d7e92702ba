using System.Buffers.Binary;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Direct;

/// <summary>Addresses of the routines of a sandbox's program. Each ends in a breakpoint.</summary>
/// <param name="Batch">Executes the operations of the table.</param>
/// <param name="Flags">Loads RFLAGS from <see cref="SandboxProgram.Flags"/>.</param>
/// <param name="Clock">Executes RDTSC, to test whether it stops.</param>
/// <param name="Identification">Executes CPUID, to test whether it stops.</param>
internal readonly record struct SandboxEntries(ulong Batch, ulong Flags, ulong Clock, ulong Identification);

/// <summary>
/// The program of a <see cref="Sandbox"/>'s process, as a static ELF executable. It requests tracing, closes inherited files, makes RDTSC and
/// CPUID trap, installs a seccomp filter that allows only mmap and munmap, and stops. Its other routines execute the operations in a table, which
/// the monitor writes and the process can only read.
/// </summary>
internal static class SandboxProgram
{
    /// <summary>Offset of the table from the program's base.</summary>
    public const int Table = 0x1000;

    /// <summary>Bytes of the table.</summary>
    public const int TableBytes = 0x10000;

    /// <summary>Bytes of one operation: the number of the system call, then its four variable arguments. Number 0 ends the list.</summary>
    public const int OperationBytes = 40;

    /// <summary>mmap(2): address, length, protection, offset.</summary>
    public const int Map = 9;

    /// <summary>munmap(2): address, length.</summary>
    public const int Unmap = 11;

    /// <summary>Offset from the program's base of the flags that <see cref="SandboxEntries.Flags"/> loads: the table's last quadword.</summary>
    public const int Flags = Table + TableBytes - 8;

    private const int Headers = 64 + 56;

    // Classic BPF (linux/filter.h, linux/seccomp.h): allows mmap and munmap of x86-64, reports all other system calls to the tracer.
    private static readonly ulong[] s_filter =
    [
        Bpf(0x20, 0, 0, 4), // load arch
        Bpf(0x15, 0, 3, 0xC000003E), // AUDIT_ARCH_X86_64
        Bpf(0x20, 0, 0, 0), // load nr
        Bpf(0x15, 2, 0, Map),
        Bpf(0x15, 1, 0, Unmap),
        Bpf(0x06, 0, 0, 0x7FF00000), // SECCOMP_RET_TRACE
        Bpf(0x06, 0, 0, 0x7FFF0000), // SECCOMP_RET_ALLOW
    ];

    /// <summary>Builds the program.</summary>
    /// <param name="start">Its base address in the process; a multiple of 4096.</param>
    /// <param name="ram">Descriptor of guest memory, inherited.</param>
    /// <param name="table">Descriptor of the table's file, inherited.</param>
    /// <param name="entries">Addresses of its routines.</param>
    public static byte[] Build(ulong start, int ram, int table, out SandboxEntries entries)
    {
        var c = new Assembler(64);
        Label filter = c.CreateLabel();
        Label filterProgram = c.CreateLabel();
        Label filterAddress = c.CreateLabel();
        Label work = c.CreateLabel();
        Label load = c.CreateLabel();
        Label time = c.CreateLabel();
        Label identify = c.CreateLabel();
        Confine(c, start, ram, table, filterProgram);

        c.Label(ref work);
        CarryOut(c, start, ram);

        c.Label(ref load);
        c.mov(rsp, start + Flags);
        c.popfq();
        c.int3();

        c.Label(ref time);
        c.rdtsc();
        c.int3();

        c.Label(ref identify);
        c.xor(eax, eax);
        c.cpuid();
        c.int3();

        c.Label(ref filter);
        foreach (ulong instruction in s_filter)
        {
            c.dq(instruction);
        }

        c.Label(ref filterProgram);
        c.dq((ulong)s_filter.Length);
        c.Label(ref filterAddress);
        c.dq(0ul);

        using var code = new MemoryStream();
        AssemblerResult result = c.Assemble(new StreamCodeWriter(code), start + Headers, BlockEncoderOptions.ReturnNewInstructionOffsets);
        byte[] text = code.ToArray();
        entries = new SandboxEntries(result.GetLabelRIP(work), result.GetLabelRIP(load), result.GetLabelRIP(time), result.GetLabelRIP(identify));
        BinaryPrimitives.WriteUInt64LittleEndian(text.AsSpan((int)(result.GetLabelRIP(filterAddress) - start) - Headers), result.GetLabelRIP(filter));
        return Elf(start, text);
    }

    // The first routine: drops what a guest's program must not have, and stops with the result of the last system call in RBX.
    private static void Confine(Assembler c, ulong start, int ram, int table, Label filterProgram)
    {
        (int low, int high) = (Math.Min(ram, table), Math.Max(ram, table));

        // ptrace(PTRACE_TRACEME), setsid()
        Call(c, 101, 0);
        Call(c, 112);

        // close_range(2): all but the two files.
        CloseRange(c, 0, low - 1);
        CloseRange(c, low + 1, high - 1);
        CloseRange(c, high + 1, int.MaxValue);

        // prctl(PR_SET_TSC, PR_TSC_SIGSEGV), arch_prctl(ARCH_SET_CPUID, 0) where the processor can.
        Call(c, 157, 26, 2);
        Call(c, 158, 0x1012, 0);

        // mmap(table, TableBytes, PROT_READ, MAP_SHARED | MAP_FIXED, table, 0)
        c.mov(rdi, start + Table);
        c.mov(esi, TableBytes);
        c.mov(edx, 1);
        c.mov(r10d, 0x11);
        c.mov(r8d, table);
        c.xor(r9d, r9d);
        c.mov(eax, Map);
        c.syscall();

        // prctl(PR_SET_NO_NEW_PRIVS, 1), seccomp(SECCOMP_SET_MODE_FILTER, 0, filter)
        c.xor(r10d, r10d);
        c.xor(r8d, r8d);
        c.xor(edx, edx);
        Call(c, 157, 38, 1);
        c.lea(rdx, __[filterProgram]);
        Call(c, 317, 1, 0);

        // The tracer checks that the filter was installed.
        c.mov(rbx, rax);
        c.int3();
    }

    // Executes the operations in the table up to the first that fails.
    private static void CarryOut(Assembler c, ulong start, int ram)
    {
        Label next = c.CreateLabel();
        Label done = c.CreateLabel();
        c.mov(r12, start + Table);
        c.Label(ref next);
        c.mov(rax, __[r12]);
        c.test(rax, rax);
        c.jz(done);
        // MAP_POPULATE: the guest uses the mapped pages, and populating a page takes less time than a page fault of the host.
        c.mov(rdi, __[r12 + 8]);
        c.mov(rsi, __[r12 + 16]);
        c.mov(rdx, __[r12 + 24]);
        c.mov(r9, __[r12 + 32]);
        c.mov(r10d, 0x8011);
        c.mov(r8d, ram);
        c.syscall();
        c.cmp(rax, -4096);
        c.ja(done);
        c.add(r12, OperationBytes);
        c.jmp(next);
        c.Label(ref done);
        c.int3();
    }

    private static byte[] Elf(ulong start, byte[] text)
    {
        byte[] elf = new byte[Headers + text.Length];
        Span<byte> header = elf;
        "\u007fELF\u0002\u0001\u0001"u8.CopyTo(header);
        BinaryPrimitives.WriteUInt16LittleEndian(header[16..], 2); // ET_EXEC
        BinaryPrimitives.WriteUInt16LittleEndian(header[18..], 62); // EM_X86_64
        BinaryPrimitives.WriteUInt32LittleEndian(header[20..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], start + Headers);
        BinaryPrimitives.WriteUInt64LittleEndian(header[32..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(header[52..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(header[54..], 56);
        BinaryPrimitives.WriteUInt16LittleEndian(header[56..], 1);

        // One PT_LOAD of the whole file, readable and executable.
        Span<byte> segment = header[64..];
        BinaryPrimitives.WriteUInt32LittleEndian(segment, 1);
        BinaryPrimitives.WriteUInt32LittleEndian(segment[4..], 5);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[16..], start);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[24..], start);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[32..], (ulong)elf.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[40..], (ulong)elf.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[48..], 0x1000);
        text.CopyTo(elf, Headers);
        return elf;
    }

    private static void CloseRange(Assembler c, int first, int last)
    {
        if (first <= last)
        {
            c.xor(edx, edx);
            Call(c, 436, (uint)first, (uint)last);
        }
    }

    private static void Call(Assembler c, int number, params ReadOnlySpan<uint> arguments)
    {
        if (arguments.Length > 0)
        {
            c.mov(edi, arguments[0]);
        }

        if (arguments.Length > 1)
        {
            c.mov(esi, arguments[1]);
        }

        c.mov(eax, number);
        c.syscall();
    }

    private static ulong Bpf(ushort code, byte ifTrue, byte ifFalse, uint k) => code | ((ulong)ifTrue << 16) | ((ulong)ifFalse << 24) | ((ulong)k << 32);
}
