using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>
/// Makes random programs of several instructions in which flags and values flow from one to the next: straight lines with forward jumps,
/// bounded loops, calls, and code that rewrites itself. RBX points to data, RSP to a stack, R15 (EDI in 32-bit code) counts loops; the rest
/// is anybody's.
/// </summary>
public sealed partial class SnippetMaker(int bitness = 64)
{
    private static readonly AssemblerRegister64[] s_wide = [rax, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14];
    private static readonly AssemblerRegister32[] s_narrow = [eax, ecx, edx, esi, edi, ebp, r8d, r9d, r10d, r11d, r12d, r13d, r14d];
    private static readonly AssemblerRegister32[] s_narrow32 = [eax, ecx, edx, esi, ebp];
    private static readonly AssemblerRegister16[] s_words = [ax, cx, dx, si, di, bp, r8w, r9w, r10w, r11w];
    private static readonly AssemblerRegister16[] s_words32 = [ax, cx, dx, si, bp];
    private static readonly AssemblerRegister8[] s_bytes = [al, cl, dl, ah, ch, dh, sil, dil, bpl, r8b, r14b];
    private static readonly AssemblerRegister8[] s_legacyBytes = [al, cl, dl, ah, ch, dh];
    private static readonly AssemblerRegisterXMM[] s_vectors = [xmm0, xmm1, xmm2, xmm7, xmm8, xmm15];

    private Prng _random = new(0);
    private Assembler _code = new(bitness);

    // 32-bit code has no addresses relative to it: of labels that it names, those of a first try.
    private readonly List<Label> _named = [];
    private uint[] _addresses = [];

    private bool Wide => bitness == 64;

    private AssemblerRegister32 Counter => Wide ? r15d : edi;

    /// <summary>Fills the image with a random state and a program of the given shape.</summary>
    public Sample Make(SnippetShape shape, ulong seed, MachineImage image)
    {
        _addresses = [];
        byte[] bytes = Assemble(shape, seed, image);
        if (_named.Count > 0)
        {
            bytes = Assemble(shape, seed, image);
        }

        bytes.CopyTo(image.Code);
        return new Sample
        {
            Seed = seed,
            CodeLength = bytes.Length,
            UndefinedFlags = 0,
            Instruction = Iced.Intel.Decoder.Create(bitness, bytes, image.Rip).Decode(),
        };
    }

    private byte[] Assemble(SnippetShape shape, ulong seed, MachineImage image)
    {
        _random = new Prng(seed);
        _named.Clear();
        image.Segments = Segmentation.Flat(bitness);
        RandomState.Fill(image, _random);
        image.Rip = Arena.Code + 0x800 + (ulong)_random.Below(0x900);
        image.Gpr[3] = (Wide && _random.OneIn(3) ? Arena.High : Arena.Data + 0x1000) + 0xF00 + (ulong)_random.Below(0x100);
        image.Gpr[4] = Arena.Data + 0x5800;
        image.Rflags &= ~0x400UL;
        if (shape == SnippetShape.Environment)
        {
            PrepareEnvironment(image);
        }

        if (!Wide)
        {
            foreach (ref ulong register in image.Gpr.AsSpan(0, 8))
            {
                register = (uint)register;
            }
        }

        _code = new Assembler(bitness);
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
            case SnippetShape.Environment:
                Environment();
                break;
        }

        using MemoryStream stream = new();
        AssemblerResult result = _code.Assemble(new StreamCodeWriter(stream), image.Rip, BlockEncoderOptions.ReturnNewInstructionOffsets);
        _addresses = [.. _named.Select(label => (uint)result.GetLabelRIP(label))];
        return stream.ToArray();
    }

    // Of the labels that a program names in the end.
    private int AddressOf(int index) => index < _addresses.Length ? (int)_addresses[index] : (int)Arena.Code;

    private void Loop()
    {
        Label top = _code.CreateLabel();
        _code.mov(Counter, 1 + _random.Below(60));
        _code.Label(ref top);
        Body(2 + _random.Below(8), jumps: true);
        _code.dec(Counter);
        _code.jne(top);
        _code.int3();
    }

    private void Calls()
    {
        Label[] routines = [_code.CreateLabel(), _code.CreateLabel(), _code.CreateLabel()];
        for (int i = 0; i < 3 + _random.Below(5); i++)
        {
            Body(_random.Below(3), jumps: false);
            int index = _random.Below(3);
            Label routine = routines[index];
            if (_random.OneIn(3) && Wide)
            {
                _code.lea(r15, __[routine]);
                _code.call(r15);
            }
            else if (!Wide && _random.OneIn(3))
            {
                _code.mov(edi, AddressOf(index));
                if (_random.OneIn(2))
                {
                    _code.call(edi);
                }
                else
                {
                    _code.push(edi);
                    _code.call(__dword_ptr[esp]);
                    _code.pop(edi);
                }
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

        if (!Wide)
        {
            _named.AddRange(routines);
        }
    }

    private void SelfModifying()
    {
        // A loop whose immediate its own body counts up, and an opcode that turns from ADD into SUB.
        Label top = _code.CreateLabel();
        Label patched = _code.CreateLabel();
        Label opcode = _code.CreateLabel();
        _code.mov(Counter, 2 + _random.Below(6));
        _code.Label(ref top);
        if (_random.OneIn(2))
        {
            Body(_random.Below(4), jumps: false);
        }

        _code.nop();
        _code.Label(ref patched);
        _code.mov(eax, 0x11223344);
        _code.Label(ref opcode);
        _code.add(Wide ? r8d : edx, eax);
        _code.inc(Wide ? __dword_ptr[patched] + 1 : __dword_ptr[AddressOf(0) + 1]);
        if (_random.OneIn(2))
        {
            _code.xor(Wide ? __byte_ptr[opcode] + 1 : __byte_ptr[AddressOf(1)], 0x28);
        }

        Body(_random.Below(4), jumps: false);
        _code.dec(Counter);
        _code.jne(top);
        _code.int3();
        if (!Wide)
        {
            _named.AddRange([patched, opcode]);
        }
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

    private AssemblerMemoryOperand Memory()
    {
        int displacement = _random.Below(200) - 100;
        return Wide ? rbx + displacement : ebx + displacement;
    }

    private void One()
    {
        if (!Wide)
        {
            One32();
            return;
        }

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

    private void One32()
    {
        AssemblerRegister32 narrow = _random.Pick<AssemblerRegister32>(s_narrow32), narrow2 = _random.Pick<AssemblerRegister32>(s_narrow32);
        AssemblerRegister16 word = _random.Pick<AssemblerRegister16>(s_words32);
        AssemblerRegister8 small = _random.Pick<AssemblerRegister8>(s_legacyBytes), small2 = _random.Pick<AssemblerRegister8>(s_legacyBytes);
        AssemblerRegisterXMM vector = _random.Pick<AssemblerRegisterXMM>(s_vectors.AsSpan(0, 4)), vector2 = _random.Pick<AssemblerRegisterXMM>(s_vectors.AsSpan(0, 4));
        AssemblerMemoryOperand memory = Memory();
        Assembler c = _code;
        switch (_random.Below(40))
        {
            case 0: c.adc(narrow, narrow2); break;
            case 1: c.adc(narrow, __dword_ptr[memory]); break;
            case 2: c.sbb(word, __word_ptr[memory]); break;
            case 3: c.sbb(small, small2); break;
            case 4: c.add(__dword_ptr[memory], narrow); break;
            case 5: c.adc(__word_ptr[memory], word); break;
            case 6: c.sub(narrow, (int)_random.Interesting()); break;
            case 7: c.cmp(narrow, narrow2); break;
            case 8: c.test(narrow, narrow2); break;
            case 9: c.inc(__byte_ptr[memory]); break;
            case 10: c.dec(narrow); break;
            case 11: c.inc(word); break;
            case 12: c.not(narrow); break;
            case 13: c.shl(narrow, (byte)1); break;
            case 14: c.rcl(narrow, 1); break;
            case 15: c.rcr(__dword_ptr[memory], 1); break;
            case 16: c.imul(narrow, narrow2); c.test(narrow, narrow); break;
            case 17: c.mov(small, small2); break;
            case 18: c.mov(narrow, __dword_ptr[memory]); break;
            case 19: c.mov(__word_ptr[memory], word); break;
            case 20: c.movzx(narrow, __byte_ptr[memory]); break;
            case 21: c.movsx(narrow, word); break;
            case 22: c.lea(narrow, narrow2 + (_random.Below(200) - 100)); break;
            case 23: c.xchg(__dword_ptr[memory], narrow); break;
            case 24: c.@lock.xadd(__dword_ptr[memory], narrow); break;
            case 25: c.push(narrow); One32(); c.pop(narrow2); break;
            case 26: c.pushfd(); c.pop(narrow); break;
            case 27: c.lahf(); break;
            case 28: c.sahf(); break;
            case 29: c.push(__dword_ptr[memory]); One32(); c.pop(__dword_ptr[Memory()]); break;
            case 30: c.cmc(); break;
            case 31: c.bt(narrow, (byte)_random.Below(32)); c.adc(narrow2, 0); break;
            case 32: c.paddd(vector, vector2); break;
            case 33: c.movdqu(vector, __xmmword_ptr[memory]); break;
            case 34: c.movdqu(__xmmword_ptr[memory], vector); break;
            case 35: c.ptest(vector, vector2); break;
            case 36: c.push((int)_random.Interesting()); One32(); c.pop(narrow); break;
            case 37: Set(_random.Pick<AssemblerRegister8>(s_legacyBytes)); break;
            case 38: c.pushad(); One32(); c.lea(esp, esp + 32); break;
            default: c.enter((ushort)_random.Below(64), 0); One32(); c.leave(); break;
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

    /// <summary>x87, MMX and SSE with exceptions that are not masked, and environments saved and loaded between.</summary>
    Environment,
}
