using System.Buffers.Binary;
using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Conformance.Tests.Native;

/// <summary>
/// The small program in whose process tests run on the processor: it maps the arena from a file, and then, for each byte on its standard
/// input, enters the state that the file holds by <c>rt_sigreturn</c> and answers a byte when that ended in a signal, whose frame, also in
/// the file, holds the whole state afterwards. It calls nothing and needs nothing but the kernel.
/// </summary>
internal static class RunnerProgram
{
    /// <summary>Where the program itself stands: far from addresses that tests make up.</summary>
    public const ulong Base = 0x6FAB_CDE0_0000;

    /// <summary>Where it maps the control pages, which follow the arena in the file.</summary>
    public const ulong Control = 0x6FAB_CE00_0000;

    /// <summary>Bytes of the control pages.</summary>
    public const int ControlLength = 16 * Arena.PageSize;

    /// <summary>Offset of the address of the last signal's <c>ucontext_t</c>.</summary>
    public const int LastContext = 0;

    /// <summary>Offset of the last signal's number.</summary>
    public const int LastSignal = 8;

    /// <summary>Offset of the selectors of DS, ES, FS and GS to enter with.</summary>
    public const int Selectors = 16;

    /// <summary>Offset of the <c>struct itimerval</c> that bounds a run.</summary>
    public const int Timer = 64;

    /// <summary>Offset of the <c>ucontext_t</c> to enter.</summary>
    public const int Context = 0x400;

    /// <summary>Offset of the XSAVE area to enter.</summary>
    public const int Fpu = 0x800;

    /// <summary>Offset of the signal stack.</summary>
    public const int Stack = 8 * Arena.PageSize;

    private const int Headers = 64 + 56;

    /// <summary>The program as a static ELF executable.</summary>
    /// <param name="file">Path of the file with the arena and the control pages.</param>
    public static byte[] Build(string file)
    {
        byte[] text = Assemble(file);
        byte[] elf = new byte[Headers + text.Length];
        Span<byte> span = elf;
        "\u007fELF\u0002\u0001\u0001"u8.CopyTo(span);
        BinaryPrimitives.WriteUInt16LittleEndian(span[16..], 2);
        BinaryPrimitives.WriteUInt16LittleEndian(span[18..], 62);
        BinaryPrimitives.WriteUInt32LittleEndian(span[20..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(span[24..], Base + Headers);
        BinaryPrimitives.WriteUInt64LittleEndian(span[32..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(span[52..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(span[54..], 56);
        BinaryPrimitives.WriteUInt16LittleEndian(span[56..], 1);

        // One PT_LOAD, readable and executable, of the whole file.
        Span<byte> segment = span[64..];
        BinaryPrimitives.WriteUInt32LittleEndian(segment, 1);
        BinaryPrimitives.WriteUInt32LittleEndian(segment[4..], 5);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[16..], Base);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[24..], Base);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[32..], (ulong)elf.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[40..], (ulong)elf.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[48..], 0x1000);
        text.CopyTo(elf, Headers);
        return elf;
    }

    private static byte[] Assemble(string file)
    {
        Assembler c = new(64);
        Label path = c.CreateLabel();
        Label signalStack = c.CreateLabel();
        Label action = c.CreateLabel();
        Label handler = c.CreateLabel();
        Label descriptors = c.CreateLabel();
        Label wait = c.CreateLabel();
        Label fail = c.CreateLabel();

        // open(path, O_RDWR)
        c.lea(rdi, __[path]);
        c.mov(esi, 2);
        Call(c, 2);
        c.test(eax, eax);
        c.js(fail);
        c.mov(r14, rax);

        // mmap each range, MAP_SHARED | MAP_FIXED | MAP_POPULATE: a store to a read-only page must find the page present.
        long offset = 0;
        foreach (ArenaRange range in Arena.Ranges)
        {
            Map(c, range.Address, range.Length, (int)range.Access, offset, fail);
            offset += range.Length;
        }

        Map(c, Control, ControlLength, 3, offset, fail);

        // modify_ldt, each entry. A kernel without it refuses, and programs that need it are not run.
        for (int i = 0; i < LocalSegment.Table.Count; i++)
        {
            c.mov(edi, 1);
            c.lea(rsi, __[descriptors]);
            c.add(rsi, i * 16);
            c.mov(edx, 16);
            Call(c, 154);
        }

        // sigaltstack, then one handler for everything that ends a run.
        c.lea(rdi, __[signalStack]);
        c.xor(esi, esi);
        Call(c, 131);
        c.test(eax, eax);
        c.jne(fail);
        foreach (int signal in (ReadOnlySpan<int>)[4, 5, 7, 8, 11, 26])
        {
            c.mov(edi, signal);
            c.lea(rsi, __[action]);
            c.xor(edx, edx);
            c.mov(r10d, 8);
            Call(c, 13);
            c.test(eax, eax);
            c.jne(fail);
        }

        // The first frame tells the parent what the kernel's frames look like.
        c.int3();

        c.Label(ref handler);
        c.mov(rbx, Control);
        c.mov(__[rbx + LastContext], rdx);
        c.mov(__[rbx + LastSignal], rdi);
        c.mov(edi, 1);
        c.mov(rsi, rbx);
        c.mov(edx, 1);
        Call(c, 1);

        c.Label(ref wait);
        c.xor(edi, edi);
        c.lea(rsi, __[rbx + 32]);
        c.mov(edx, 1);
        Call(c, 0);
        c.cmp(rax, 1);
        c.jne(fail);
        c.mov(edi, 1);
        c.lea(rsi, __[rbx + Timer]);
        c.xor(edx, edx);
        Call(c, 38);

        // A page that was there but not yet for the processor would end a single step of a gather between two elements: each is touched.
        foreach (ArenaRange range in Arena.Ranges)
        {
            for (ulong page = range.Address; page < range.End; page += Arena.PageSize)
            {
                c.mov(rdi, page);
                if ((range.Access & Access.Write) != 0)
                {
                    c.or(__byte_ptr[rdi], 0);
                }
                else
                {
                    c.mov(al, __byte_ptr[rdi]);
                }
            }
        }

        // 32-bit code needs data segments; the kernel leaves these four as they are at signals, and takes CS and SS from the frame.
        c.mov(ds, __word_ptr[rbx + Selectors]);
        c.mov(es, __word_ptr[rbx + Selectors + 2]);
        c.mov(fs, __word_ptr[rbx + Selectors + 4]);
        c.mov(gs, __word_ptr[rbx + Selectors + 6]);

        // rt_sigreturn leaves NT and ID as they are: a POPF of the last program must not reach the next.
        c.push(0x202);
        c.popfq();
        c.lea(rsp, __[rbx + Context]);
        Call(c, 15);

        // The parent went away, or something is wrong: leave with the last system call's errno.
        c.Label(ref fail);
        c.mov(edi, eax);
        c.neg(edi);
        Call(c, 231);

        c.Label(ref signalStack);
        c.dq(Control + Stack);
        c.dq(0UL);
        c.dq((ulong)(ControlLength - Stack));

        // struct kernel_sigaction: handler, SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER, restorer (never reached), mask.
        c.Label(ref action);
        c.dq(0UL);
        c.dq(0x4C000004UL);
        c.dq(0UL);
        c.dq(0UL);

        // struct user_desc: entry_number, base_addr, limit, flags (seg_32bit, contents, read_exec_only, seg_not_present).
        c.Label(ref descriptors);
        for (int i = 0; i < LocalSegment.Table.Count; i++)
        {
            LocalSegment segment = LocalSegment.Table[i];
            int contents = segment.Type >> 2 & 3;
            bool writableOrReadable = (segment.Type & 2) != 0;
            c.dd(i);
            c.dd(segment.Base);
            c.dd(segment.Limit);
            c.dd((segment.Big ? 1u : 0) | (uint)contents << 1 | (writableOrReadable ? 0 : 8u) | (segment.Present ? 0 : 0x20u));
        }

        c.Label(ref path);
        c.db(Encoding.UTF8.GetBytes(file));
        c.db(0);

        using MemoryStream stream = new();
        AssemblerResult result = c.Assemble(new StreamCodeWriter(stream), Base + Headers, BlockEncoderOptions.ReturnNewInstructionOffsets);
        byte[] text = stream.ToArray();
        int at = (int)(result.GetLabelRIP(action) - Base - Headers);
        BinaryPrimitives.WriteUInt64LittleEndian(text.AsSpan(at), result.GetLabelRIP(handler));
        return text;
    }

    private static void Map(Assembler c, ulong address, int length, int protection, long offset, Label fail)
    {
        c.mov(rdi, address);
        c.mov(esi, length);
        c.mov(edx, protection);
        c.mov(r10d, 0x8011);
        c.mov(r8, r14);
        c.mov(r9, offset);
        Call(c, 9);
        c.cmp(rax, rdi);
        c.jne(fail);
    }

    private static void Call(Assembler c, int number)
    {
        c.mov(eax, number);
        c.syscall();
    }
}
