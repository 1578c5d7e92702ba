using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>
/// Makes random programs of several instructions in which flags and values flow from one to the next: straight lines with forward jumps,
/// bounded loops, calls, and code that rewrites itself. RBX points to data, RSP to a stack, R15 counts loops; the rest is anybody's.
/// </summary>
public sealed class SnippetMaker
{
    private static readonly AssemblerRegister64[] s_wide = [rax, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14];
    private static readonly AssemblerRegister32[] s_narrow = [eax, ecx, edx, esi, edi, ebp, r8d, r9d, r10d, r11d, r12d, r13d, r14d];
    private static readonly AssemblerRegister16[] s_words = [ax, cx, dx, si, di, bp, r8w, r9w, r10w, r11w];
    private static readonly AssemblerRegister8[] s_bytes = [al, cl, dl, ah, ch, dh, sil, dil, bpl, r8b, r14b];
    private static readonly AssemblerRegister8[] s_legacyBytes = [al, cl, dl, ah, ch, dh];
    private static readonly AssemblerRegisterXMM[] s_vectors = [xmm0, xmm1, xmm2, xmm7, xmm8, xmm15];

    private Prng _random = new(0);
    private Assembler _code = new(64);

    /// <summary>Fills the image with a random state and a program of the given shape.</summary>
    public Sample Make(SnippetShape shape, ulong seed, MachineImage image)
    {
        _random = new Prng(seed);
        RandomState.Fill(image, _random);
        image.Rip = Arena.Code + 0x800 + (ulong)_random.Below(0x900);
        image.Gpr[3] = (_random.OneIn(3) ? Arena.High : Arena.Data + 0x1000) + 0xF00 + (ulong)_random.Below(0x100);
        image.Gpr[4] = Arena.Data + 0x5800;
        image.Rflags &= ~0x400UL;
        _code = new Assembler(64);
        switch (shape)
        {
            case SnippetShape.Straight:
                Body(5 + _random.Below(16), jumps: true);
                _code.int3();
                break;
            case SnippetShape.Loop:
                Loop();
                break;
            case SnippetShape.Calls:
                Calls();
                break;
            case SnippetShape.SelfModifying:
                SelfModifying();
                break;
        }

        using MemoryStream stream = new();
        _code.Assemble(new StreamCodeWriter(stream), image.Rip);
        byte[] bytes = stream.ToArray();
        bytes.CopyTo(image.At(image.Rip));
        return new Sample
        {
            Seed = seed,
            CodeLength = bytes.Length,
            UndefinedFlags = 0,
            Instruction = Iced.Intel.Decoder.Create(64, bytes, image.Rip).Decode(),
        };
    }

    private void Loop()
    {
        Label top = _code.CreateLabel();
        _code.mov(r15d, 1 + _random.Below(60));
        _code.Label(ref top);
        Body(2 + _random.Below(8), jumps: true);
        _code.dec(r15d);
        _code.jne(top);
        _code.int3();
    }

    private void Calls()
    {
        Label[] routines = [_code.CreateLabel(), _code.CreateLabel(), _code.CreateLabel()];
        for (int i = 0; i < 3 + _random.Below(5); i++)
        {
            Body(_random.Below(3), jumps: false);
            Label routine = routines[_random.Below(3)];
            if (_random.OneIn(3))
            {
                _code.lea(r15, __[routine]);
                _code.call(r15);
            }
            else
            {
                _code.call(routine);
            }
        }

        _code.int3();
        for (int i = 0; i < 3; i++)
        {
            _code.Label(ref routines[i]);
            Body(1 + _random.Below(5), jumps: true);
            if (i < 2 && _random.OneIn(2))
            {
                _code.call(routines[2]);
            }

            _code.ret();
        }
    }

    private void SelfModifying()
    {
        // A loop whose immediate its own body counts up, and an opcode that turns from ADD into SUB.
        Label top = _code.CreateLabel();
        Label patched = _code.CreateLabel();
        Label opcode = _code.CreateLabel();
        _code.mov(r15d, 2 + _random.Below(6));
        _code.Label(ref top);
        if (_random.OneIn(2))
        {
            Body(_random.Below(4), jumps: false);
        }

        _code.nop();
        _code.Label(ref patched);
        _code.mov(eax, 0x11223344);
        _code.Label(ref opcode);
        _code.add(r8d, eax);
        _code.inc(__dword_ptr[patched] + 1);
        if (_random.OneIn(2))
        {
            _code.xor(__byte_ptr[opcode] + 1, 0x28);
        }

        Body(_random.Below(4), jumps: false);
        _code.dec(r15d);
        _code.jne(top);
        _code.int3();
    }

    private void Body(int count, bool jumps)
    {
        for (int i = 0; i < count; i++)
        {
            if (jumps && _random.OneIn(7))
            {
                Label skip = _code.CreateLabel();
                Jump(skip);
                for (int j = _random.Below(3); j >= 0; j--)
                {
                    One();
                }

                _code.Label(ref skip);
            }

            One();
        }

        // A label must have an instruction after it, and the last flags must be seen.
        _code.nop();
    }

    private AssemblerMemoryOperand Memory() => rbx + (_random.Below(200) - 100);

    private void One()
    {
        AssemblerRegister64 wide = _random.Pick<AssemblerRegister64>(s_wide), wide2 = _random.Pick<AssemblerRegister64>(s_wide);
        AssemblerRegister32 narrow = _random.Pick<AssemblerRegister32>(s_narrow), narrow2 = _random.Pick<AssemblerRegister32>(s_narrow);
        AssemblerRegister16 word = _random.Pick<AssemblerRegister16>(s_words);
        AssemblerRegister8 small = _random.Pick<AssemblerRegister8>(s_legacyBytes), small2 = _random.Pick<AssemblerRegister8>(s_legacyBytes);
        AssemblerRegisterXMM vector = _random.Pick<AssemblerRegisterXMM>(s_vectors), vector2 = _random.Pick<AssemblerRegisterXMM>(s_vectors);
        AssemblerMemoryOperand memory = Memory();
        Assembler c = _code;
        switch (_random.Below(40))
        {
            case 0: c.adc(wide, wide2); break;
            case 1: c.adc(narrow, __dword_ptr[memory]); break;
            case 2: c.sbb(wide, __qword_ptr[memory]); break;
            case 3: c.sbb(small, small2); break;
            case 4: c.add(__qword_ptr[memory], wide); break;
            case 5: c.adc(__dword_ptr[memory], narrow); break;
            case 6: c.sub(wide, (int)_random.Interesting()); break;
            case 7: c.cmp(narrow, narrow2); break;
            case 8: c.test(wide, wide2); break;
            case 9: c.inc(__byte_ptr[memory]); break;
            case 10: c.dec(narrow); break;
            case 11: c.neg(wide); break;
            case 12: c.not(narrow); break;
            case 13: c.shl(wide, (byte)1); break;
            case 14: c.rcl(narrow, 1); break;
            case 15: c.rcr(__qword_ptr[memory], 1); break;
            case 16: c.imul(wide, wide2); c.test(wide, wide); break;
            case 17: c.mov(small, small2); break;
            case 18: c.mov(wide, __qword_ptr[memory]); break;
            case 19: c.mov(__word_ptr[memory], word); break;
            case 20: c.movzx(narrow, __byte_ptr[memory]); break;
            case 21: c.movsx(wide, word); break;
            case 22: c.lea(wide, wide2 + (_random.Below(200) - 100)); break;
            case 23: c.xchg(__qword_ptr[memory], wide); break;
            case 24: c.@lock.xadd(__dword_ptr[memory], narrow); break;
            case 25: c.push(wide); One(); c.pop(wide2); break;
            case 26: c.pushfq(); c.pop(wide); break;
            case 27: c.lahf(); break;
            case 28: c.sahf(); break;
            case 29: c.stc(); break;
            case 30: c.cmc(); break;
            case 31: c.bt(wide, (byte)_random.Below(64)); c.adc(wide2, 0); break;
            case 32: c.paddd(vector, vector2); break;
            case 33: c.movdqu(vector, __xmmword_ptr[memory]); break;
            case 34: c.movdqu(__xmmword_ptr[memory], vector); break;
            case 35: c.ptest(vector, vector2); break;
            case 36: c.movq(wide, vector); break;
            case 37: Set(_random.Pick<AssemblerRegister8>(s_bytes)); break;
            case 38: Select(wide, wide2); break;
            default: c.cmp(__byte_ptr[memory], (sbyte)_random.Next()); break;
        }
    }

    private void Set(AssemblerRegister8 target)
    {
        Assembler c = _code;
        switch (_random.Below(8))
        {
            case 0: c.seto(target); break;
            case 1: c.setb(target); break;
            case 2: c.sete(target); break;
            case 3: c.seta(target); break;
            case 4: c.sets(target); break;
            case 5: c.setp(target); break;
            case 6: c.setl(target); break;
            default: c.setg(target); break;
        }
    }

    private void Select(AssemblerRegister64 target, AssemblerRegister64 source)
    {
        Assembler c = _code;
        switch (_random.Below(6))
        {
            case 0: c.cmovb(target, source); break;
            case 1: c.cmove(target, source); break;
            case 2: c.cmovs(target, source); break;
            case 3: c.cmovnp(target, source); break;
            case 4: c.cmovle(target, source); break;
            default: c.cmovo(target, source); break;
        }
    }

    private void Jump(Label target)
    {
        Assembler c = _code;
        switch (_random.Below(10))
        {
            case 0: c.jo(target); break;
            case 1: c.jb(target); break;
            case 2: c.jae(target); break;
            case 3: c.je(target); break;
            case 4: c.jbe(target); break;
            case 5: c.js(target); break;
            case 6: c.jnp(target); break;
            case 7: c.jl(target); break;
            case 8: c.jmp(target); break;
            default: c.jg(target); break;
        }
    }
}

/// <summary>What a snippet looks like.</summary>
public enum SnippetShape
{
    /// <summary>Five to twenty instructions, some jumped over.</summary>
    Straight,

    /// <summary>Up to sixty rounds of a few.</summary>
    Loop,

    /// <summary>Direct and indirect calls, two deep.</summary>
    Calls,

    /// <summary>Instructions that change their neighbours.</summary>
    SelfModifying,
}
