using Yadokari.Linux;

namespace Yadokari.Translation.Code;

/// <summary>
/// Handles host signals for exceptions in translated code: divide errors, floating point, undefined opcodes, misaligned vectors. A signal handler
/// in machine code, installed before the runtime's, checks the instruction pointer: in a code cache it stores signal and address in the vCPU state
/// and resumes at the cache's exit; elsewhere it calls the runtime's handler.
/// </summary>
internal static unsafe class HostFaults
{
    // Offset of RIP in a ucontext: 40 bytes before the registers, of which RIP is number 16 (asm/sigcontext.h).
    private const int ContextRip = 168;
    private const int MaxCaches = 512;
    private static readonly int[] s_signals = [SignalAction.Sigill, SignalAction.Sigfpe, SignalAction.Sigsegv, SignalAction.Sigbus];
    private static readonly Lock s_lock = new();
    private static CodeCache? s_handlers;

    // Start, end and exit of each cache, read by the handler.
    private static ulong* s_ranges;

    /// <summary>Registers a cache with the handler.</summary>
    public static void Watch(CodeCache cache, Stubs stubs)
    {
        lock (s_lock)
        {
            if (s_handlers == null)
            {
                Install();
            }

            for (int i = 0; i < MaxCaches; i++)
            {
                ulong* range = s_ranges + (3 * i);
                if (range[1] == 0)
                {
                    range[2] = (ulong)stubs.Fault;
                    range[0] = (ulong)cache.ExecutableStart;
                    range[1] = (ulong)cache.ExecutableStart + (ulong)cache.Length;
                    return;
                }
            }

            throw new Core.UserErrorException($"more than {MaxCaches} vCPUs in one process are not supported; start another process");
        }
    }

    /// <summary>Unregisters a cache before its memory is unmapped.</summary>
    public static void Forget(CodeCache cache)
    {
        lock (s_lock)
        {
            for (int i = 0; i < MaxCaches; i++)
            {
                ulong* range = s_ranges + (3 * i);
                if (range[0] == (ulong)cache.ExecutableStart)
                {
                    range[1] = 0;
                    range[0] = 0;
                }
            }
        }
    }

    private static void Install()
    {
        s_ranges = (ulong*)System.Runtime.InteropServices.NativeMemory.AllocZeroed(MaxCaches * 3 * sizeof(ulong));
        s_handlers = new CodeCache(4096);
        HostAssembler a = default;
        a.Cursor = s_handlers.Next;
        foreach (int signal in s_signals)
        {
            byte* handler = a.Cursor;

            // The previous handler is known only after installation; its address is filled in then.
            a.Load(Host.Rax, Mem.At(Host.Rdx, ContextRip));
            a.MoveImmediate(Host.Rcx, (ulong)s_ranges);
            a.MoveImmediate(Host.R8, MaxCaches);
            byte* loop = a.Cursor;
            a.Arithmetic(Alu.Cmp, Host.Rax, Mem.At(Host.Rcx));
            byte* below = a.Jump(Condition.Below, a.Cursor);
            a.Arithmetic(Alu.Cmp, Host.Rax, Mem.At(Host.Rcx, 8));
            byte* above = a.Jump(Condition.AboveOrEqual, a.Cursor);
            a.Store(Mem.State(StateLayout.Of(nameof(VcpuState.FaultRip))), Host.Rax);
            a.Store(Mem.State(StateLayout.Of(nameof(VcpuState.FaultSignal))), Host.Rdi);
            a.Load(Host.Rax, Mem.At(Host.Rcx, 16));
            a.Store(Mem.At(Host.Rdx, ContextRip), Host.Rax);
            a.Return();
            HostAssembler.Patch(below, a.Cursor);
            HostAssembler.Patch(above, a.Cursor);
            a.Arithmetic(Alu.Add, Host.Rcx, 24);
            a.Arithmetic(Alu.Sub, Host.R8, 1);
            a.Jump(Condition.NotEqual, loop);
            a.Byte(0x48);
            a.Byte(0xB8);
            ulong* old = (ulong*)a.Cursor;
            a.Int64(0);
            a.Jump(Host.Rax);
            *old = (ulong)SignalAction.Current(signal);
            SignalAction.Install(signal, (nint)s_handlers.Executable(handler));
        }
    }
}
