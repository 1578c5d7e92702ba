using Yadokari.Linux;

namespace Yadokari.Translation.Code;

/// <summary>
/// Exceptions that the processor raises in translated code: divide errors, floating point, undefined opcodes, misaligned vectors.
/// A handler of machine code, put before the runtime's own, tells by the instruction pointer whose fault it is: in a code cache it
/// notes signal and address in the vCPU state and resumes at the cache's exit; elsewhere it hands on to the runtime.
/// </summary>
internal static unsafe class HostFaults
{
    // Offset of RIP in a ucontext: 40 bytes before the registers, of which RIP is number 16 (asm/sigcontext.h).
    private const int ContextRip = 168;
    private const int MaxCaches = 512;
    private static readonly int[] s_signals = [SignalAction.Sigill, SignalAction.Sigfpe, SignalAction.Sigsegv, SignalAction.Sigbus];
    private static readonly Lock s_lock = new();
    private static CodeCache? s_handlers;

    // Start, end and exit of each cache, as the handler reads them.
    private static ulong* s_ranges;

    /// <summary>Starts to look after a cache.</summary>
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

    /// <summary>Ends that; the cache's memory goes.</summary>
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

            // The old handler is known only once ours is in; its address is filled in after.
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
