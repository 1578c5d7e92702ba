using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>Signal dispositions (sigaction(2)); the structure is glibc's for x86-64 (bits/sigaction.h).</summary>
public static unsafe partial class SignalAction
{
    /// <summary>Illegal instruction.</summary>
    public const int Sigill = 4;

    /// <summary>Arithmetic fault.</summary>
    public const int Sigfpe = 8;

    /// <summary>Bad memory access, and every #GP.</summary>
    public const int Sigsegv = 11;

    /// <summary>Access to memory that the host can't supply (SIGBUS).</summary>
    public const int Sigbus = 7;

    /// <summary>Breakpoints and single steps.</summary>
    public const int Sigtrap = 5;

    private const int SaNoChildStop = 1;
    private const int SaSiginfo = 4;
    private const int SaOnStack = 0x08000000;
    private const int SaRestart = 0x10000000;

    /// <summary>Installs a native handler (int, siginfo*, ucontext*), which may pass signals on to the previous one.</summary>
    /// <returns>The address of the previous handler; 0 for the default action.</returns>
    public static nint Install(int signal, nint handler)
    {
        Action old;
        Action action = default;
        if (Sigaction(signal, null, &old) != 0)
        {
            throw new InvalidOperationException($"sigaction({signal}) failed");
        }

        action.Handler = handler;
        action.Mask = old.Mask;
        action.Flags = SaSiginfo | SaOnStack | SaRestart;
        return Sigaction(signal, &action, null) == 0 ? old.Handler : throw new InvalidOperationException($"sigaction({signal}) failed");
    }

    /// <summary>The installed handler, for passing signals on.</summary>
    public static nint Current(int signal)
    {
        Action old;
        return Sigaction(signal, null, &old) == 0 ? old.Handler : throw new InvalidOperationException($"sigaction({signal}) failed");
    }

    /// <summary>Disables SIGCHLD for children that stop or continue (SA_NOCLDSTOP); it is still sent when a child ends.</summary>
    public static void ForgetStops(int signal)
    {
        Action action;
        if (Sigaction(signal, null, &action) == 0 && (action.Flags & SaNoChildStop) == 0)
        {
            action.Flags |= SaNoChildStop;
            _ = Sigaction(signal, &action, null);
        }
    }

    // SAFETY: both pointers are to locals of the caller or null, as sigaction(2) wants them.
    [LibraryImport("libc", EntryPoint = "sigaction", SetLastError = true)]
    private static partial int Sigaction(int signal, Action* action, Action* old);

    [StructLayout(LayoutKind.Sequential)]
    private struct Action
    {
        public nint Handler;
        public fixed ulong MaskBits[16];
        public int Flags;
        public nint Restorer;

        public ActionMask Mask
        {
            readonly get
            {
                ActionMask mask = default;
                for (int i = 0; i < 16; i++)
                {
                    mask.Bits[i] = MaskBits[i];
                }

                return mask;
            }

            set
            {
                for (int i = 0; i < 16; i++)
                {
                    MaskBits[i] = value.Bits[i];
                }
            }
        }
    }

    private struct ActionMask
    {
        public fixed ulong Bits[16];
    }
}
