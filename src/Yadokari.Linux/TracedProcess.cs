using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>Why a traced process stopped.</summary>
public enum TraceStop
{
    /// <summary>The process has exited.</summary>
    Exited,

    /// <summary>A system call, which the kernel did not execute. RIP is after the instruction.</summary>
    SystemCall,

    /// <summary>A signal is about to be delivered; it is dropped at the next resumption.</summary>
    Signal,

    /// <summary>The process's seccomp filter caught a system call without an instruction: a call into the vsyscall page.</summary>
    Filtered,
}

/// <summary>The registers of a traced process: <c>struct user_regs_struct</c> of sys/user.h for x86-64, glibc 2.36.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct TracedRegisters
{
#pragma warning disable CS1591 // The names of the processor's registers.
    public ulong R15, R14, R13, R12, Rbp, Rbx, R11, R10, R9, R8, Rax, Rcx, Rdx, Rsi, Rdi, OrigRax, Rip, Cs, Rflags, Rsp, Ss, FsBase, GsBase, Ds, Es, Fs, Gs;
#pragma warning restore CS1591
}

/// <summary>
/// A child process under ptrace(2). Only the thread that started it may call members, except <see cref="Kick"/> and <see cref="Dispose"/>. The
/// kernel kills it when that thread ends.
/// </summary>
public sealed unsafe partial class TracedProcess : IDisposable
{
    /// <summary>The signal that <see cref="Kick"/> sends.</summary>
    public const int KickSignal = 23;

    private const int GetRegisters = 12;
    private const int SetRegisters = 13;
    private const int Continue = 7;
    private const int SystemCallEmulation = 31;
    private const int SetOptions = 0x4200;
    private const int GetSignalInformation = 0x4202;
    private const int GetRegisterSet = 0x4204;
    private const int SetRegisterSet = 0x4205;
    private const nint XState = 0x202;
    private const int WaitAll = 0x40000000;
    private const int Interrupted = 4;
    private const int TgkillNumber = 234;
    private const int Sigkill = 9;
    private const int Sigchld = 17;

    // TRACESYSGOOD, TRACESECCOMP, EXITKILL.
    private const nint Options = 1 | (1 << 7) | (1 << 20);
    private const int SystemCallStop = SignalAction.Sigtrap | 0x80;
    private const int SeccompEvent = SignalAction.Sigtrap | (7 << 8);

    private readonly int _pid;
    private readonly ProcessHandle? _handle; // For signals: after the process was reaped, its id may be reused. Null before Linux 5.3.
    private bool _exited;

    private TracedProcess(int pid)
    {
        _pid = pid;
        _handle = ProcessHandle.TryOpen(pid);
    }

    /// <summary>
    /// Starts a program that requests tracing and then stops itself by a breakpoint. Null if the host does not allow it.
    /// </summary>
    /// <param name="program">A memory file with a static ELF executable.</param>
    /// <param name="files">Memory files that the process inherits, with the same descriptors as here.</param>
    public static TracedProcess? Start(MemoryFile program, params ReadOnlySpan<MemoryFile> files)
    {
        SignalAction.ForgetStops(Sigchld);

        // SAFETY: posix_spawn_file_actions_t is 80 bytes in glibc; the strings live to the end of the call.
        byte* actions = stackalloc byte[256];
        _ = FileActionsInit(actions);
        foreach (MemoryFile file in files)
        {
            // Duplicating a descriptor onto itself clears its close-on-exec flag.
            _ = FileActionsAddDup2(actions, file.Descriptor, file.Descriptor);
        }

        nint path = Marshal.StringToCoTaskMemUTF8($"/proc/self/fd/{program.Descriptor}");
        nint name = Marshal.StringToCoTaskMemUTF8("yadokari-guest");
        byte** arguments = stackalloc byte*[] { (byte*)name, null };
        int pid;
        int error = Spawn(&pid, (byte*)path, actions, null, arguments, arguments + 1);
        _ = FileActionsDestroy(actions);
        Marshal.FreeCoTaskMem(path);
        Marshal.FreeCoTaskMem(name);
        if (error != 0)
        {
            return null;
        }

        var process = new TracedProcess(pid);
        if (process.Wait(out int signal) == TraceStop.Signal && signal == SignalAction.Sigtrap && Ptrace(SetOptions, pid, 0, Options) == 0)
        {
            return process;
        }

        process.Dispose();
        return null;
    }

    /// <summary>The process id.</summary>
    public int Id => _pid;

    /// <summary>Resumes the process; the kernel executes its system calls. No other member may be called before <see cref="Wait"/>.</summary>
    public void Resume() => _ = Ptrace(Continue, _pid, 0, 0);

    /// <summary>Resumes the process; it stops at system calls, and the kernel does not execute them.</summary>
    public void ResumeWithoutSystemCalls() => _ = Ptrace(SystemCallEmulation, _pid, 0, 0);

    /// <summary>Waits for the next stop.</summary>
    /// <param name="signal">The signal's number, for <see cref="TraceStop.Signal"/>.</param>
    public TraceStop Wait(out int signal)
    {
        signal = 0;
        if (_exited)
        {
            return TraceStop.Exited;
        }

        int status;
        int pid;
        do
        {
            pid = Wait4(_pid, &status, WaitAll, 0);
        }
        while (pid < 0 && Marshal.GetLastPInvokeError() == Interrupted);

        if (pid != _pid || (status & 0xFF) != 0x7F)
        {
            _exited = true;
            return TraceStop.Exited;
        }

        switch (status >> 8)
        {
            case SystemCallStop:
                return TraceStop.SystemCall;
            case SeccompEvent:
                return TraceStop.Filtered;
            default:
                signal = (status >> 8) & 0x7F;
                return TraceStop.Signal;
        }
    }

    /// <summary>Reads the registers. Only while the process is stopped.</summary>
    public void Read(out TracedRegisters registers)
    {
        // SAFETY: PTRACE_GETREGS writes one user_regs_struct.
        fixed (TracedRegisters* r = &registers)
        {
            _ = Ptrace(GetRegisters, _pid, 0, (nint)r);
        }
    }

    /// <summary>Replaces the registers. Only while the process is stopped. False if the kernel refuses a value.</summary>
    public bool Write(in TracedRegisters registers)
    {
        // SAFETY: PTRACE_SETREGS reads one user_regs_struct.
        fixed (TracedRegisters* r = &registers)
        {
            return Ptrace(SetRegisters, _pid, 0, (nint)r) == 0;
        }
    }

    /// <summary>Reads the extended state: XSAVE's standard format with all components of the kernel. Returns its length.</summary>
    public int ReadExtended(Span<byte> area)
    {
        // SAFETY: the kernel writes no more than the length in the vector.
        fixed (byte* start = area)
        {
            nint* vector = stackalloc nint[] { (nint)start, area.Length };
            return Ptrace(GetRegisterSet, _pid, XState, (nint)vector) == 0 ? (int)vector[1] : 0;
        }
    }

    /// <summary>Replaces the extended state; <paramref name="area"/> has the length that <see cref="ReadExtended"/> returned.</summary>
    public bool WriteExtended(ReadOnlySpan<byte> area)
    {
        // SAFETY: as above, read.
        fixed (byte* start = area)
        {
            nint* vector = stackalloc nint[] { (nint)start, area.Length };
            return Ptrace(SetRegisterSet, _pid, XState, (nint)vector) == 0;
        }
    }

    /// <summary>Details of the signal at which the process stopped: si_code, and si_addr for faults.</summary>
    public void ReadSignal(out int code, out ulong address)
    {
        // SAFETY: siginfo_t is 128 bytes: si_signo, si_errno, si_code, padding, si_addr (asm-generic/siginfo.h).
        byte* information = stackalloc byte[128];
        _ = Ptrace(GetSignalInformation, _pid, 0, (nint)information);
        code = *(int*)(information + 8);
        address = *(ulong*)(information + 16);
    }

    /// <summary>Processor time that the process has used, in nanoseconds.</summary>
    // The clock is MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of linux/posix-timers.h.
    public long ProcessorTime => TimeOf((~_pid << 3) | 2);

    /// <summary>Processor time that the calling thread has used, in nanoseconds.</summary>
    public static long ThreadTime => TimeOf(ThreadClock);

    /// <summary>Makes a running process stop soon, by <see cref="KickSignal"/>. Any thread.</summary>
    public void Kick() => Signal(KickSignal);

    /// <summary>Kills the process. Any thread.</summary>
    public void Dispose()
    {
        if (!_exited)
        {
            _exited = true;
            Signal(Sigkill);
            int status;
            int pid;
            do
            {
                pid = Wait4(_pid, &status, WaitAll, 0);
            }
            while (pid == _pid ? (status & 0x7F) == 0x7F : pid < 0 && Marshal.GetLastPInvokeError() == Interrupted);
        }

        _handle?.Dispose();
    }

    private void Signal(int signal)
    {
        if (_handle is null)
        {
            _ = Syscall(TgkillNumber, _pid, _pid, signal);
        }
        else
        {
            _handle.TrySignal(signal);
        }
    }

    [LibraryImport("libc", EntryPoint = "ptrace", SetLastError = true)]
    private static partial nint Ptrace(nint request, nint pid, nint address, nint data);

    // SAFETY: a timespec is two 64-bit words.
    // CLOCK_THREAD_CPUTIME_ID of linux/time.h.
    private const int ThreadClock = 3;

    private static long TimeOf(int clock)
    {
        long* time = stackalloc long[2];
        return GetTime(clock, time) == 0 ? (time[0] * 1_000_000_000) + time[1] : 0;
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int GetTime(int clock, long* time);

    [LibraryImport("libc", EntryPoint = "wait4", SetLastError = true)]
    private static partial int Wait4(int pid, int* status, int options, nint usage);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Syscall(nint number, nint first, nint second, nint third);

    [LibraryImport("libc", EntryPoint = "posix_spawn")]
    private static partial int Spawn(int* pid, byte* path, byte* actions, void* attributes, byte** arguments, byte** environment);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_init")]
    private static partial int FileActionsInit(byte* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_adddup2")]
    private static partial int FileActionsAddDup2(byte* actions, int from, int to);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_destroy")]
    private static partial int FileActionsDestroy(byte* actions);
}
